// A lint rule with types: a plain object is looked up by a name that is not known in advance through `src/core/own.ts`
// alone.
//
// `record[name]` finds `constructor` and `__proto__` in every object; one event of type "constructor" once ended the
// process that way. The rule cannot know where a name comes from, so it takes every string that is not a literal for
// one from outside.

import ts from 'typescript'

const anyString = ts.TypeFlags.String | ts.TypeFlags.Any | ts.TypeFlags.TemplateLiteral | ts.TypeFlags.StringMapping

export const ownProperty = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      read: 'read a plain object by a name from outside with own() of src/core/own.ts, or use a Map',
      write: 'write a plain object by a name from outside with setOwn() of src/core/own.ts, or use a Map'
    }
  },
  create(context) {
    const { program, esTreeNodeToTSNodeMap } = context.sourceCode.parserServices
    const checker = program.getTypeChecker()
    const isRecord = (type) =>
      (type.flags & ts.TypeFlags.Any) !== 0 ||
      checker.getIndexInfoOfType(checker.getApparentType(type), ts.IndexKind.String) !== undefined
    const typeOf = (node) => checker.getTypeAtLocation(esTreeNodeToTSNodeMap.get(node))
    const parts = (type) => (type.isUnion() ? type.types : [type])
    return {
      MemberExpression(node) {
        if (!node.computed || node.property.type === 'Literal') return
        if (node.parent.type === 'UnaryExpression' && node.parent.operator === 'delete') return // deletes own properties only
        if (!parts(typeOf(node.property)).some(({ flags }) => (flags & anyString) !== 0)) return
        if (!parts(typeOf(node.object)).some(isRecord)) return
        const isWrite = node.parent.type === 'AssignmentExpression' && node.parent.left === node
        context.report({ node, messageId: isWrite ? 'write' : 'read' })
      }
    }
  }
}
