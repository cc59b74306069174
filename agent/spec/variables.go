package spec

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/proffer/proffer/structs"
)

// variable is a declaration: variable "image" { type, default, description }.
type variable struct {
	name  string
	pos   pos
	typ   cty.Type  // cty.DynamicPseudoType when none is declared
	value cty.Value // NilVal: none yet
}

// declarations are the variables and local values of a text.
type declarations struct {
	variables map[string]*variable
	locals    map[string]*hclsyntax.Attribute
	needs     map[string][]string // local values that a local value refers to
}

// declare collects the variable and locals blocks.
func (r *hclReader) declare(body *hclsyntax.Body) declarations {
	d := declarations{map[string]*variable{}, map[string]*hclsyntax.Attribute{}, map[string][]string{}}
	for _, b := range body.Blocks {
		at := r.pos(b.TypeRange)
		switch b.Type {
		case "variable":
			if len(b.Labels) != 1 || !hclsyntax.ValidIdentifier(b.Labels[0]) {
				r.add(at, "variable", "a variable block has one label, its name").Advise(`write variable "name" { … }`)
				continue
			}
			v := r.variable(b, at)
			if d.variables[v.name] != nil {
				r.add(at, "variable."+v.name, "it is declared twice")
			}
			d.variables[v.name] = v
		case "locals":
			for _, x := range b.Body.Blocks {
				r.add(r.pos(x.TypeRange), "locals", "it holds names and values, no blocks")
			}
			for _, a := range sorted(b.Body.Attributes) {
				if d.locals[a.Name] != nil {
					r.add(r.pos(a.NameRange), "locals."+a.Name, "it is declared twice")
				}
				d.locals[a.Name] = a
				for _, t := range a.Expr.Variables() {
					if step, ok := second(t); ok && t.RootName() == "local" {
						d.needs[a.Name] = append(d.needs[a.Name], step)
					}
				}
			}
		}
	}
	return d
}

func second(t hcl.Traversal) (string, bool) {
	if len(t) < 2 {
		return "", false
	}
	step, ok := t[1].(hcl.TraverseAttr)
	return step.Name, ok
}

func (r *hclReader) variable(b *hclsyntax.Block, at pos) *variable {
	v := &variable{name: b.Labels[0], pos: at, typ: cty.DynamicPseudoType}
	object := "variable." + v.name
	known := []string{"type", "default", "description"}
	for _, x := range b.Body.Blocks {
		suggest(r.add(r.pos(x.TypeRange), object+"."+x.Type, "there is no block %q here", x.Type), x.Type, known)
	}
	for _, a := range sorted(b.Body.Attributes) {
		if !slices.Contains(known, a.Name) {
			suggest(r.add(r.pos(a.NameRange), object+"."+a.Name, "there is no %q here", a.Name), a.Name, known)
		}
	}
	if a := b.Body.Attributes["type"]; a != nil {
		t, diags := typeexpr.TypeConstraint(a.Expr)
		r.diagnose(diags, object+".type")
		if !diags.HasErrors() {
			v.typ = t
		}
	}
	if a := b.Body.Attributes["default"]; a != nil {
		value, ok := r.value(r.rewrite(a.Expr, scope{}), r.contextFor(nil, nil), object+".default")
		if ok {
			if v.value, ok = r.convert(value, v, r.pos(a.SrcRange)); ok && v.typ == cty.DynamicPseudoType {
				v.typ = value.Type()
				if value.IsNull() || !value.Type().IsPrimitiveType() {
					v.typ = cty.DynamicPseudoType
				}
			}
		}
	}
	return v
}

func (r *hclReader) convert(value cty.Value, v *variable, at pos) (cty.Value, bool) {
	out, err := convert.Convert(value, v.typ)
	if err != nil {
		r.add(at, "variable."+v.name, "the value is not %s: %s", describe(v.typ), err)
		return cty.NilVal, false
	}
	return out, true
}

func describe(t cty.Type) string {
	name := t.FriendlyNameForConstraint()
	if strings.ContainsAny(name[:1], "aeio") {
		return "an " + name
	}
	return "a " + name
}

// assign gives the variables their values.
func (r *hclReader) assign(d declarations, vars Vars) {
	known := slices.Sorted(maps.Keys(d.variables))
	for _, pair := range vars.Env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if name, ok = strings.CutPrefix(name, "PROFFER_VAR_"); ok && d.variables[name] != nil {
				r.assignText(d.variables[name], value, pos{file: "PROFFER_VAR_" + name})
			}
		}
	}
	for _, file := range vars.Files {
		for _, a := range r.assignments(file) {
			v := d.variables[a.name]
			if v == nil {
				suggest(r.add(a.pos, "variable."+a.name, "the job declares no variable %q", a.name), a.name, known)
				continue
			}
			if value, ok := r.convert(a.value, v, a.pos); ok {
				v.value = value
			}
		}
	}
	for _, pair := range vars.Flags {
		name, value, ok := strings.Cut(pair, "=")
		at := pos{file: "-var " + shorten(name)}
		switch v := d.variables[name]; {
		case !ok:
			r.add(pos{file: "-var"}, "", "%q has no equals sign", shorten(pair)).Advise("write -var name=value")
		case v == nil:
			suggest(r.add(at, "variable."+name, "the job declares no variable %q", name), name, known)
		default:
			r.assignText(v, value, at)
		}
	}
	for _, name := range known {
		if v := d.variables[name]; v.value == cty.NilVal {
			r.add(v.pos, "variable."+name, "it has no value").
				Advise("give -var %s=VALUE, a line in a -var-file, PROFFER_VAR_%s, or a default", name, name)
			v.value = cty.DynamicVal
		}
	}
}

// assignText takes text as the value of a variable: as it is for strings and variables of no type, as an expression for
// lists, maps and objects.
func (r *hclReader) assignText(v *variable, s string, at pos) {
	value := cty.StringVal(s)
	if !v.typ.IsPrimitiveType() && v.typ != cty.DynamicPseudoType {
		inner := newHCLReader(at.file)
		if inner.lex([]byte(s)) {
			e, diags := hclsyntax.ParseExpression([]byte(s), at.file, hcl.InitialPos)
			inner.diagnose(diags, "variable."+v.name)
			if !diags.HasErrors() {
				value, _ = inner.value(inner.rewrite(e, scope{}), inner.contextFor(nil, nil), "variable."+v.name)
			}
		}
		if len(inner.list) > 0 {
			for _, x := range inner.list {
				x.err.Advise(`write it as in the job, such as '["a", "b"]'`)
				r.list = append(r.list, complaint{at, x.err})
			}
			return
		}
	}
	if out, ok := r.convert(value, v, at); ok {
		v.value = out
	}
}

type binding struct {
	name  string
	pos   pos
	value cty.Value
}

// assignments reads a file of variables.
func (r *hclReader) assignments(file File) []binding {
	var out []binding
	if looksLikeJSON(file.Src) {
		n, err := readJSON(file.Name, file.Src)
		if err != nil {
			r.fail(err)
			return nil
		}
		for _, x := range n.fields {
			out = append(out, binding{x.name, x.pos, x.node.cty()})
		}
		return out
	}
	inner := newHCLReader(file.Name)
	body, err := inner.parse(file.Src)
	if err == nil {
		for _, b := range body.Blocks {
			inner.add(inner.pos(b.TypeRange), b.Type, "a file of variables holds assignments, no blocks").Advise("write name = value")
		}
		inner.prepare(body, scope{src: file.Src})
		for _, a := range sorted(body.Attributes) {
			if value, ok := inner.value(a.Expr, inner.contextFor(nil, nil), "variable."+a.Name); ok {
				out = append(out, binding{a.Name, inner.pos(a.NameRange), value})
			}
		}
	}
	r.list = append(r.list, inner.list...)
	return out
}

// cty returns a JSON value for expressions.
func (n node) cty() cty.Value {
	switch n.kind {
	case text:
		return cty.StringVal(n.text)
	case number:
		if v, err := cty.ParseNumberVal(n.text); err == nil && len(n.text) < 400 && !longExponent.MatchString(n.text) {
			return v
		}
		return cty.StringVal(n.text)
	case boolean:
		return cty.BoolVal(n.yes)
	case list:
		out := make([]cty.Value, len(n.list))
		for i, x := range n.list {
			out[i] = x.cty()
		}
		return cty.TupleVal(out)
	case object:
		out := make(map[string]cty.Value, len(n.fields))
		for _, x := range n.fields {
			out[x.name] = x.node.cty()
		}
		return cty.ObjectVal(out)
	}
	return cty.NullVal(cty.DynamicPseudoType)
}

// evaluateLocals returns the values of the locals, each after those that it refers to.
func (r *hclReader) evaluateLocals(d declarations, variables map[string]cty.Value) map[string]cty.Value {
	done := map[string]cty.Value{}
	open := map[string]bool{}
	var visit func(name string, depth int)
	visit = func(name string, depth int) {
		a := d.locals[name]
		if _, ok := done[name]; ok || a == nil {
			return
		}
		at, object := r.pos(a.NameRange), "locals."+name
		if open[name] || depth > 1_000 {
			r.add(at, object, "it refers to itself, by way of other local values perhaps")
			done[name] = cty.DynamicVal
			return
		}
		open[name] = true
		used := map[string]cty.Value{}
		for _, other := range d.needs[name] {
			visit(other, depth+1)
			used[other] = done[other]
		}
		value, ok := r.value(a.Expr, r.contextFor(variables, used), object)
		if !ok {
			value = cty.DynamicVal
		}
		done[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(d.locals)) {
		visit(name, 0)
	}
	return done
}

func (r *hclReader) fail(err error) {
	e := *structs.AsError(err)
	r.list = append(r.list, complaint{err: &e})
}
