/** The command, or why there is none. */
export function ensureValidator(): { readonly command: string } | { readonly missing: string }
