// Whether the process in this container answers: for a container engine. Supervisors that can ask over the network ask
// /livez and /readyz themselves.
const port = process.env.MTMI_OPS_PORT || process.env.MTMI_SERVE_PORT || '8080'
const answer = await fetch(`http://127.0.0.1:${port}/livez`, { signal: AbortSignal.timeout(4000) }).catch(
  () => undefined
)
process.exitCode = answer?.ok === true ? 0 : 1
