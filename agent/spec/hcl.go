package spec

import (
	"cmp"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/proffer/proffer/structs"
)

// Bounds that keep parsing and evaluating HCL of strangers cheap.
const (
	maxOperators = 10_000  // of one text: each may be one level of recursion
	maxBrackets  = 20_000  // of one text, for the same reason
	maxBlocks    = 20_000  // after dynamic blocks
	maxWork      = 4 << 20 // see hclReader.spend
)

// hclReader turns HCL into nodes. It evaluates expressions, within maxWork.
type hclReader struct {
	complaints
	file   string
	left   int // of maxWork
	blocks int // decoded so far
}

func newHCLReader(file string) *hclReader { return &hclReader{file: file, left: maxWork} }

// parse reads the syntax, after a look at the tokens that keeps the recursive parser from deep input.
func (r *hclReader) parse(src []byte) (*hclsyntax.Body, error) {
	if !r.lex(src) {
		return nil, r.err()
	}
	f, diags := hclsyntax.ParseConfig(src, r.file, hcl.InitialPos)
	r.diagnose(diags, "")
	if diags.HasErrors() {
		return nil, r.err()
	}
	return f.Body.(*hclsyntax.Body), nil
}

var longExponent = regexp.MustCompile(`[eE][+-]?0*[1-9][0-9]{3}`)

// lex reports whether src is within the bounds.
func (r *hclReader) lex(src []byte) bool {
	if len(src) > MaxHCL {
		r.add(pos{file: r.file}, "", "the text has %d bytes, more than %d", len(src), MaxHCL)
		return false
	}
	if !utf8.Valid(src) {
		r.add(pos{r.file, 1 + strings.Count(string(src[:firstInvalid(src)]), "\n")}, "", "the text is not valid UTF-8")
		return false
	}
	tokens, _ := hclsyntax.LexConfig(src, r.file, hcl.InitialPos)
	depth, operators, brackets := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrack:
			brackets++
			depth++
		case hclsyntax.TokenTemplateControl:
			operators++
			depth++
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			depth--
		case hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenPercent,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
			hclsyntax.TokenBang, hclsyntax.TokenQuestion:
			operators++
		case hclsyntax.TokenNumberLit:
			if len(t.Bytes) > 400 || longExponent.Match(t.Bytes) {
				r.add(r.pos(t.Range), "", "the number %s is out of range", shorten(string(t.Bytes)))
				return false
			}
		}
		switch {
		case depth > maxDepth:
			r.add(r.pos(t.Range), "", "brackets and blocks are nested more than %d deep", maxDepth)
		case operators > maxOperators:
			r.add(r.pos(t.Range), "", "the text has more than %d operators", maxOperators)
		case brackets > maxBrackets:
			r.add(r.pos(t.Range), "", "the text has more than %d lists", maxBrackets)
		default:
			continue
		}
		return false
	}
	return true
}

func (r *hclReader) pos(at hcl.Range) pos { return pos{r.file, at.Start.Line} }

// diagnose notes what the HCL library found, in the project's form.
func (r *hclReader) diagnose(diags hcl.Diagnostics, path string) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError || d.Summary == tooMuchWork && r.worn() {
			continue
		}
		at := pos{file: r.file}
		if d.Subject != nil {
			at = r.pos(*d.Subject)
		}
		why, advice := strings.TrimSuffix(cmp.Or(d.Detail, d.Summary), "."), ""
		if before, after, ok := strings.Cut(why, ". Did you mean "); ok {
			why, advice = before, "did you mean "+after
		}
		if first, n := utf8.DecodeRuneInString(why); len(why) > n && !strings.HasPrefix(why, "HCL") {
			if second, _ := utf8.DecodeRuneInString(why[n:]); !unicode.IsUpper(second) {
				why = string(unicode.ToLower(first)) + why[n:]
			}
		}
		e := r.add(at, path, "%s", why)
		switch name := unknownFunction.FindStringSubmatch(why); {
		case name != nil && strings.HasPrefix(name[1], "file"):
			e.Advise("no function reads files: pass the text in a variable")
		case name != nil:
			if near := structs.Nearest(name[1], slices.Sorted(maps.Keys(library))); near != "" {
				e.Advise("did you mean %q?", near)
			}
		case advice != "":
			e.Advise("%s", advice)
		case d.Summary == "Unknown variable":
			e.Advise("text that shall stay as it is has two dollar signs: $${…}")
		}
	}
}

var unknownFunction = regexp.MustCompile(`^there is no function named "(\w+)"`)

// worn reports, from its second call on, that the bound on work was noted already.
func (r *hclReader) worn() bool {
	again := r.seen[tooMuchWork]
	r.seen = map[string]bool{tooMuchWork: true}
	return again
}

// check notes what body has that a block of type t does not: unknown names, wrong shapes, labels that are missing or too many.
// It looks into dynamic blocks too, whatever they expand to.
func (r *hclReader) check(body *hclsyntax.Body, t reflect.Type, path string) {
	tags := tagsOf(t)
	find := func(name string) (tag, bool) {
		i := slices.IndexFunc(tags, func(g tag) bool { return g.name == name && g.shape != hidden })
		if i < 0 {
			return tag{}, false
		}
		return tags[i], true
	}
	for _, a := range sorted(body.Attributes) {
		at := join(path, a.Name)
		switch g, ok := find(a.Name); {
		case !ok:
			e := r.add(r.pos(a.NameRange), at, "there is no %q here", a.Name)
			suggest(e, a.Name, namesOf(tags, func(g tag) bool { return g.shape != hidden && g.shape != label }))
		case g.shape == block || g.shape == blocks:
			r.add(r.pos(a.NameRange), at, "%s is a block", a.Name).Advise("write %s without the equals sign", blockForm(g))
		case g.shape == label:
			r.add(r.pos(a.NameRange), at, "%s is the label of the block", a.Name).Advise(`write it in quotes before the brace`)
		}
	}
	once := map[string]bool{}
	for _, b := range body.Blocks {
		name, inner, at := b.Type, b.Body, r.pos(b.TypeRange)
		dynamic := name == "dynamic"
		if dynamic {
			if len(b.Labels) != 1 {
				r.add(at, join(path, name), "a dynamic block has one label").Advise(`write dynamic "NAME" { for_each = …  content { … } }`)
				continue
			}
			name, inner = b.Labels[0], r.checkDynamic(b, join(path, name))
		}
		object := join(path, name)
		g, ok := find(name)
		switch {
		case !ok:
			e := r.add(at, object, "there is no block %q here", name)
			suggest(e, name, namesOf(tags, func(g tag) bool { return g.shape != hidden && g.shape != attribute && g.shape != label }))
			continue
		case g.shape == attribute || g.shape == label:
			r.add(at, object, "%s is not a block", name).Advise("write %s = …", name)
			continue
		case dynamic && g.shape != blocks:
			r.add(at, object, "only a block that may be repeated can be dynamic")
			continue
		case g.shape != blocks && once[name]:
			r.add(at, object, "there is a second %s block", name).Advise("write everything into one")
		}
		once[name] = true
		lt, labelled := tag{}, false
		if g.shape == block || g.shape == blocks {
			lt, labelled = labelOf(g.typ)
		}
		switch {
		case dynamic:
			_, has := b.Body.Attributes["labels"]
			if labelled && !has {
				r.add(at, object, "labels is missing").Advise("write labels = [%s]", lt.name)
			}
		case labelled && len(b.Labels) != 1:
			r.add(at, object, "a %s block has one label, its %s", name, lt.name).Advise(`write %s`, blockForm(g))
		case !labelled && len(b.Labels) > 0:
			r.add(at, object, "a %s block has no label", name).Advise("write %s", blockForm(g))
		}
		switch {
		case inner == nil:
		case g.shape == block || g.shape == blocks:
			if labelled && len(b.Labels) == 1 && !dynamic {
				object = join(object, b.Labels[0])
			}
			r.check(inner, g.typ, object)
		case g.shape == names:
			for _, x := range inner.Blocks {
				r.add(r.pos(x.TypeRange), join(object, x.Type), "%s holds names and values, no blocks", name)
			}
		}
	}
}

func (r *hclReader) checkDynamic(b *hclsyntax.Block, path string) (content *hclsyntax.Body) {
	known := []string{"for_each", "iterator", "labels"}
	for _, a := range sorted(b.Body.Attributes) {
		if !slices.Contains(known, a.Name) {
			suggest(r.add(r.pos(a.NameRange), join(path, a.Name), "there is no %q in a dynamic block", a.Name), a.Name, known)
		}
	}
	if b.Body.Attributes["for_each"] == nil {
		r.add(r.pos(b.TypeRange), path, "for_each is missing")
	}
	for _, x := range b.Body.Blocks {
		if x.Type == "content" && content == nil && len(x.Labels) == 0 {
			content = x.Body
			continue
		}
		r.add(r.pos(x.TypeRange), join(path, x.Type), "a dynamic block holds one content block")
	}
	if content == nil {
		r.add(r.pos(b.TypeRange), path, "the content block is missing")
	}
	return content
}

func blockForm(g tag) string {
	if g.shape == block || g.shape == blocks {
		if lt, ok := labelOf(g.typ); ok {
			return g.name + ` "` + strings.ToUpper(lt.name) + `" { … }`
		}
	}
	return g.name + " { … }"
}

// body evaluates a block of type t. What check complains of is skipped.
func (r *hclReader) body(body *hclsyntax.Body, t reflect.Type, ctx *hcl.EvalContext, path string) node {
	n := node{pos: r.pos(body.SrcRange), kind: object, block: true}
	if r.blocks++; r.blocks > maxBlocks {
		if r.blocks == maxBlocks+1 {
			r.add(n.pos, path, "there are more than %d blocks", maxBlocks)
		}
		return n
	}
	tags := tagsOf(t)
	repeated := map[string]int{} // index in n.fields
	put := func(g tag, at pos, x node) {
		if g.shape != blocks {
			n.fields = append(n.fields, field{g.name, at, x})
			return
		}
		i, ok := repeated[g.name]
		if !ok {
			i = len(n.fields)
			repeated[g.name] = i
			n.fields = append(n.fields, field{g.name, at, node{pos: at, kind: list}})
		}
		n.fields[i].list = append(n.fields[i].list, x)
	}
	for _, a := range sorted(body.Attributes) {
		for _, g := range tags {
			if g.name == a.Name && (g.shape == attribute || g.shape == names || g.shape == free) {
				put(g, r.pos(a.NameRange), r.eval(a.Expr, ctx, join(path, a.Name)))
			}
		}
	}
	for _, b := range body.Blocks {
		at := r.pos(b.TypeRange)
		if b.Type == "dynamic" && len(b.Labels) == 1 {
			for _, g := range tags {
				if g.name == b.Labels[0] && g.shape == blocks {
					r.dynamic(b, g, ctx, join(path, g.name), func(x node) { put(g, at, x) })
				}
			}
			continue
		}
		for _, g := range tags {
			if g.name != b.Type {
				continue
			}
			switch g.shape {
			case block, blocks:
				object := join(path, g.name)
				lt, labelled := labelOf(g.typ)
				if labelled && len(b.Labels) == 1 {
					object = join(object, b.Labels[0])
				} else if g.shape == blocks {
					object += "[" + strconv.Itoa(r.countOf(n, repeated, g.name)) + "]"
				}
				x := r.body(b.Body, g.typ, ctx, object)
				x.pos = at
				if labelled && len(b.Labels) == 1 {
					x.fields = append(x.fields, field{lt.name, at, node{pos: at, kind: text, text: b.Labels[0]}})
				}
				put(g, at, x)
			case names, free:
				x := r.open(b.Body, ctx, join(path, g.name), g.shape == free)
				put(g, at, x)
			}
		}
	}
	return n
}

func (r *hclReader) countOf(n node, repeated map[string]int, name string) int {
	if i, ok := repeated[name]; ok {
		return len(n.fields[i].list)
	}
	return 0
}

// open evaluates a block of free names. With deep, blocks in it become lists of objects.
func (r *hclReader) open(body *hclsyntax.Body, ctx *hcl.EvalContext, path string, deep bool) node {
	n := node{pos: r.pos(body.SrcRange), kind: object, block: true}
	r.blocks++
	for _, a := range sorted(body.Attributes) {
		n.fields = append(n.fields, field{a.Name, r.pos(a.NameRange), r.eval(a.Expr, ctx, join(path, a.Name))})
	}
	if !deep {
		return n
	}
	index := map[string]int{}
	for _, b := range body.Blocks {
		at, object := r.pos(b.TypeRange), join(path, b.Type)
		i, ok := index[b.Type]
		switch {
		case len(b.Labels) > 0:
			r.add(at, object, "a block in here has no label")
			continue
		case body.Attributes[b.Type] != nil:
			r.add(at, object, "%s is an attribute already", b.Type)
			continue
		case !ok:
			i = len(n.fields)
			index[b.Type] = i
			n.fields = append(n.fields, field{b.Type, at, node{pos: at, kind: list}})
		}
		n.fields[i].list = append(n.fields[i].list, r.open(b.Body, ctx, object, true))
	}
	return n
}

// dynamic calls put with a block for each element of for_each, in which the iterator (the name of the block, if none is
// given) has key and value.
func (r *hclReader) dynamic(b *hclsyntax.Block, g tag, ctx *hcl.EvalContext, path string, put func(node)) {
	each, ok := b.Body.Attributes["for_each"]
	i := slices.IndexFunc(b.Body.Blocks, func(x *hclsyntax.Block) bool { return x.Type == "content" })
	if !ok || i < 0 {
		return
	}
	content := b.Body.Blocks[i].Body
	name := g.name
	if a := b.Body.Attributes["iterator"]; a != nil {
		if name = hcl.ExprAsKeyword(a.Expr); name == "" {
			r.add(r.pos(a.SrcRange), join(path, "iterator"), "an iterator is a bare name")
			return
		}
	}
	if isRuntime(name) || name == "var" || name == "local" {
		r.add(r.pos(b.TypeRange), path, "%s cannot name the iterator", name).Advise("write iterator = item")
		return
	}
	all, ok := r.value(each.Expr, ctx, join(path, "for_each"))
	if !ok {
		return
	}
	if all.IsNull() || !all.CanIterateElements() {
		r.add(r.pos(each.SrcRange), join(path, "for_each"), "it is not a list, set or map")
		return
	}
	lt, labelled := labelOf(g.typ)
	for it := all.ElementIterator(); it.Next(); {
		key, value := it.Element()
		if all.Type().IsSetType() {
			key = value
		}
		child := ctx.NewChild()
		child.Variables = map[string]cty.Value{name: cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		object, title := path, ""
		if labels := b.Body.Attributes["labels"]; labels != nil && labelled {
			x := r.eval(labels.Expr, child, join(path, "labels"))
			if x.kind != list || len(x.list) != 1 || (x.list[0].kind != text && x.list[0].kind != number) {
				r.add(r.pos(labels.SrcRange), join(path, "labels"), "it is not a list of one string")
				return
			}
			title = x.list[0].text
			object = join(path, title)
		}
		n := r.body(content, g.typ, child, object)
		n.pos = r.pos(b.TypeRange)
		if labelled {
			n.fields = append(n.fields, field{lt.name, n.pos, node{pos: n.pos, kind: text, text: title}})
		}
		put(n)
		if r.blocks > maxBlocks || r.left <= 0 {
			return
		}
	}
}

// value evaluates an expression.
func (r *hclReader) value(e hclsyntax.Expression, ctx *hcl.EvalContext, path string) (cty.Value, bool) {
	v, diags := e.Value(ctx)
	r.diagnose(diags, path)
	if diags.HasErrors() || !v.IsWhollyKnown() {
		return cty.NilVal, false
	}
	v, _ = v.UnmarkDeep()
	return v, true
}

// eval evaluates an expression to a node; null when it cannot.
func (r *hclReader) eval(e hclsyntax.Expression, ctx *hcl.EvalContext, path string) node {
	at := r.pos(e.Range())
	v, ok := r.value(e, ctx, path)
	if !ok {
		return node{pos: at}
	}
	return r.node(v, at, path, 0)
}

func (r *hclReader) node(v cty.Value, at pos, path string, depth int) node {
	n := node{pos: at}
	t := v.Type()
	switch {
	case v.IsNull():
	case depth > maxDepth:
		r.add(at, path, "values are nested more than %d deep", maxDepth)
	case t == cty.String:
		n.kind, n.text = text, v.AsString()
	case t == cty.Number:
		n.kind, n.text = number, v.AsBigFloat().Text('f', -1)
	case t == cty.Bool:
		n.kind, n.yes = boolean, v.True()
	case t.IsListType() || t.IsSetType() || t.IsTupleType():
		n.kind = list
		for it := v.ElementIterator(); it.Next(); {
			_, x := it.Element()
			n.list = append(n.list, r.node(x, at, path, depth+1))
		}
	case t.IsMapType() || t.IsObjectType():
		n.kind = object
		for it := v.ElementIterator(); it.Next(); {
			k, x := it.Element()
			n.fields = append(n.fields, field{k.AsString(), at, r.node(x, at, path, depth+1)})
		}
	default:
		r.add(at, path, "a %s cannot be a value here", t.FriendlyName())
	}
	return n
}

func sorted(attributes hclsyntax.Attributes) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(attributes))
	for _, a := range attributes {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *hclsyntax.Attribute) int {
		return cmp.Compare(a.NameRange.Start.Byte, b.NameRange.Start.Byte)
	})
	return out
}

// size is the work that a value stands for: its bytes, and 16 for each element. Above bound it is only more than bound.
// tooBig says that a number has more digits than may be written.
func size(v cty.Value, bound int) (n int, tooBig bool) {
	n = 16
	if v == cty.NilVal || v.IsNull() || !v.IsKnown() || v.IsMarked() {
		return n, false
	}
	switch t := v.Type(); {
	case t == cty.String:
		n += len(v.AsString())
	case t == cty.Number:
		f := v.AsBigFloat()
		e := f.MantExp(nil)
		tooBig = f.IsInf() || math.Abs(float64(e)) > 4096
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next() && n <= bound && !tooBig; {
			_, x := it.Element()
			var m int
			m, tooBig = size(x, bound-n)
			n += m
		}
	}
	return n, tooBig
}
