// Ctrl-C and SIGTERM: the first requests an orderly end, the second does not wait for it.

export function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    let asked = false
    const interrupt = (signal: NodeJS.Signals) => {
      if (asked) process.exit(signal === 'SIGINT' ? 130 : 143)
      asked = true
      resolve()
    }
    process.on('SIGINT', interrupt)
    process.on('SIGTERM', interrupt)
  })
}
