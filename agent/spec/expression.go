package spec

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Names that are not known before a task runs: they stay in the text as they are, ${attr.kernel.name} and the like.
var runtimeRoots = []string{"attr", "meta", "node", "env", "alloc"}

func isRuntime(root string) bool {
	return slices.Contains(runtimeRoots, root) || strings.HasPrefix(root, "PROFFER_")
}

// scope is what names an expression may use.
type scope struct {
	variables, locals []string
	src               []byte
}

// prepare rewrites every expression below body for evaluation: references to runtime names become their own text, unknown
// variables are noted, and each step of evaluation is metered.
func (r *hclReader) prepare(body *hclsyntax.Body, s scope) {
	for _, a := range sorted(body.Attributes) {
		a.Expr = r.rewrite(a.Expr, s)
	}
	for _, b := range body.Blocks {
		if b.Type == "dynamic" && b.Body.Attributes["iterator"] != nil {
			keep := *b.Body.Attributes["iterator"]
			r.prepare(b.Body, s)
			b.Body.Attributes["iterator"].Expr = keep.Expr
			continue
		}
		r.prepare(b.Body, s)
	}
}

func (r *hclReader) rewrite(e hclsyntax.Expression, s scope) hclsyntax.Expression {
	one := func(e *hclsyntax.Expression) {
		if *e != nil {
			*e = r.rewrite(*e, s)
		}
	}
	all := func(list []hclsyntax.Expression) {
		for i := range list {
			one(&list[i])
		}
	}
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr, *hclsyntax.AnonSymbolExpr:
		return e
	case *hclsyntax.ScopeTraversalExpr:
		return r.reference(e, s)
	case *hclsyntax.RelativeTraversalExpr:
		one(&e.Source)
	case *hclsyntax.TemplateExpr:
		all(e.Parts)
	case *hclsyntax.TemplateJoinExpr:
		one(&e.Tuple)
	case *hclsyntax.TemplateWrapExpr:
		one(&e.Wrapped)
	case *hclsyntax.ParenthesesExpr:
		one(&e.Expression)
	case *hclsyntax.FunctionCallExpr:
		all(e.Args)
	case *hclsyntax.ConditionalExpr:
		one(&e.Condition)
		one(&e.TrueResult)
		one(&e.FalseResult)
	case *hclsyntax.BinaryOpExpr:
		one(&e.LHS)
		one(&e.RHS)
	case *hclsyntax.UnaryOpExpr:
		one(&e.Val)
	case *hclsyntax.IndexExpr:
		one(&e.Collection)
		one(&e.Key)
	case *hclsyntax.TupleConsExpr:
		all(e.Exprs)
	case *hclsyntax.ObjectConsExpr:
		for i := range e.Items {
			if key, ok := e.Items[i].KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok && hcl.ExprAsKeyword(key.Wrapped) == "" {
				one(&key.Wrapped)
			}
			one(&e.Items[i].ValueExpr)
		}
	case *hclsyntax.ForExpr:
		one(&e.CollExpr)
		one(&e.KeyExpr)
		one(&e.ValExpr)
		one(&e.CondExpr)
	case *hclsyntax.SplatExpr:
		one(&e.Source)
	}
	return &metered{e, r}
}

// reference handles a name in an expression.
func (r *hclReader) reference(e *hclsyntax.ScopeTraversalExpr, s scope) hclsyntax.Expression {
	root := e.Traversal.RootName()
	at := e.SrcRange
	if isRuntime(root) && at.End.Byte <= len(s.src) {
		literal := "${" + string(s.src[at.Start.Byte:at.End.Byte]) + "}"
		return &hclsyntax.LiteralValueExpr{Val: cty.StringVal(literal), SrcRange: at}
	}
	declared := map[string][]string{"var": s.variables, "local": s.locals}
	if known, ok := declared[root]; ok {
		if len(e.Traversal) < 2 {
			r.add(r.pos(at), "", "%s alone is not a value", root).Advise("write %s.NAME", root)
			return &hclsyntax.LiteralValueExpr{Val: cty.DynamicVal, SrcRange: at}
		}
		step, ok := e.Traversal[1].(hcl.TraverseAttr)
		if ok && !slices.Contains(known, step.Name) {
			what, how := "variable", `variable "`+step.Name+`" {}`
			if root == "local" {
				what, how = "local value", "locals { "+step.Name+" = … }"
			}
			problem := r.add(r.pos(at), "", "there is no %s %q", what, step.Name)
			if suggest(problem, step.Name, known); len(known) == 0 {
				problem.Advise("declare it: %s", how)
			}
			return &hclsyntax.LiteralValueExpr{Val: cty.DynamicVal, SrcRange: at}
		}
	}
	return &metered{e, r}
}

const tooMuchWork = "too much work"

// metered is an expression whose evaluation is charged to its reader's budget. Once that is used up it fails at once, so
// that nested loops and doubling strings end soon.
type metered struct {
	hclsyntax.Expression
	r *hclReader
}

func (m *metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	at := m.Range()
	fail := func(why string) (cty.Value, hcl.Diagnostics) {
		return cty.DynamicVal, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: tooMuchWork, Detail: why, Subject: &at}}
	}
	const worn = "the expressions of this text make too much data"
	if m.r.left <= 0 {
		return fail(worn)
	}
	v, diags := m.Expression.Value(ctx)
	n, tooBig := size(v, m.r.left)
	if m.r.left -= n; m.r.left <= 0 {
		return fail(worn)
	}
	if tooBig {
		return fail("a number is out of range")
	}
	return v, diags
}

// contextFor makes what expressions are evaluated in.
func (r *hclReader) contextFor(variables, locals map[string]cty.Value) *hcl.EvalContext {
	return &hcl.EvalContext{
		Functions: r.functions(),
		Variables: map[string]cty.Value{"var": cty.ObjectVal(maps.Clone(variables)), "local": cty.ObjectVal(maps.Clone(locals))},
	}
}
