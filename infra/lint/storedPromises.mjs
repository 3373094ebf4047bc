// ESLint rule: a promise that is stored has a handler from where it is made.
//
// `no-floating-promises` is content with a promise that is put into a variable. If it rejects before it is awaited,
// Node ends the process (unhandledRejection); if it is never awaited, a task is dead and nothing says so. So whatever
// stores a new promise passes it through `handledLater` (src/core/promises.ts), or ends with `.catch(…)` or `.then(…,
// …)`, or cannot reject (`Promise.resolve()`, `Promise.allSettled(…)`, `new Promise((resolve) => …)`).

const stores = new Set(['push', 'unshift', 'set', 'add'])

/** Whether the expression makes something new, rather than naming what was stored before. */
function makes(node) {
  if (node.type === 'CallExpression') return !['get', 'at'].includes(node.callee.property?.name) // of a Map or an array: stored before
  if (node.type === 'NewExpression') return true
  if (node.type === 'ConditionalExpression') return makes(node.consequent) || makes(node.alternate)
  if (node.type === 'LogicalExpression') return makes(node.left) || makes(node.right)
  if (node.type === 'ArrayExpression') return node.elements.some((element) => element !== null && makes(element))
  if (node.type === 'ChainExpression' || node.type === 'TSNonNullExpression' || node.type === 'TSAsExpression')
    return makes(node.expression)
  return false
}

function isHandled(node) {
  if (node.type === 'ChainExpression' || node.type === 'TSNonNullExpression' || node.type === 'TSAsExpression')
    return isHandled(node.expression)
  if (node.type === 'ConditionalExpression')
    return [node.consequent, node.alternate].every((branch) => !makes(branch) || isHandled(branch))
  if (node.type === 'LogicalExpression') return [node.left, node.right].every((side) => !makes(side) || isHandled(side))
  if (node.type === 'ArrayExpression')
    return node.elements.every((element) => element === null || !makes(element) || isHandled(element))
  // The executor of what cannot reject takes `resolve` alone.
  if (node.type === 'NewExpression') return node.callee.name === 'Promise' && node.arguments[0]?.params?.length === 1
  if (node.type !== 'CallExpression') return false
  const { callee } = node
  if (callee.type === 'Identifier') return callee.name === 'handledLater'
  if (callee.type !== 'MemberExpression') return false
  const { name } = callee.property
  if (callee.object.type === 'Identifier' && callee.object.name === 'Promise')
    return name === 'resolve' || name === 'allSettled'
  if (name === 'map') return isHandledCallback(node.arguments[0])
  if (name === 'finally') return isHandled(callee.object)
  return (name === 'catch' && node.arguments.length === 1) || (name === 'then' && node.arguments.length === 2)
}

function isHandledCallback(callback) {
  return (
    callback?.type === 'ArrowFunctionExpression' &&
    !callback.async &&
    callback.body.type !== 'BlockStatement' &&
    isHandled(callback.body)
  )
}

export default {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      stored:
        'A promise is stored without a handler: pass it through handledLater (src/core/promises.ts) and await it, or end it with .catch(…).'
    }
  },
  create(context) {
    const services = context.sourceCode.parserServices
    const checker = services.program.getTypeChecker()
    // By name: an instance of Fastify has a `then`, too.
    const isThenable = (type) =>
      type.isUnion() ? type.types.some(isThenable) : ['Promise', 'PromiseLike'].includes(type.symbol?.name)
    const isPromise = (node) => {
      const type = checker.getApparentType(services.getTypeAtLocation(node))
      if (isThenable(type)) return true
      if (!checker.isArrayType(type)) return false
      const [element] = checker.getTypeArguments(type)
      return element !== undefined && isThenable(element)
    }
    const check = (node) => {
      if (node !== null && node !== undefined && makes(node) && !isHandled(node) && isPromise(node))
        context.report({ node, messageId: 'stored' })
    }
    return {
      VariableDeclarator: ({ init }) => check(init),
      AssignmentExpression: ({ right }) => check(right),
      PropertyDefinition: ({ value }) => check(value),
      CallExpression({ callee, arguments: values }) {
        if (callee.type === 'MemberExpression' && stores.has(callee.property.name))
          for (const value of values) check(value)
      }
    }
  }
}
