// Ctrl-C and SIGTERM: the first requests an orderly end, the second does not wait for it.

export function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    let isInterrupted = false
    const interrupt = (signal: NodeJS.Signals) => {
      if (isInterrupted) process.exit(signal === 'SIGINT' ? 130 : 143)
      isInterrupted = true
      resolve()
    }
    process.on('SIGINT', interrupt)
    process.on('SIGTERM', interrupt)
  })
}
