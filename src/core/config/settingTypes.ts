// What settings are made of.

import { z } from 'zod'

export const minuteMs = 60_000
export const dayMs = 24 * 60 * minuteMs

export const count = (min: number, max: number) => z.int().min(min).max(max)
export const durationMs = (max: number) => z.int().min(0).max(max)
export const real = (min: number, max: number) => z.number().min(min).max(max)
export const section = <T extends z.ZodRawShape>(shape: T) => z.strictObject(shape).prefault({} as never)

/** Texts; as a variable of the environment separated by commas. */
export const textList = (text: z.ZodType<string>, most: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' ? value.split(',').flatMap((part) => part.trim() || []) : value),
    z.array(text).max(most)
  )
