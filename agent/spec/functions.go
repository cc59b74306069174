package spec

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/go-cty-funcs/cidr"
	"github.com/hashicorp/go-cty-funcs/encoding"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// library has the functions of expressions. All are pure: none reads a file, a clock, the environment or random numbers, so
// that a text means the same wherever and whenever it is read.
var library = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
	"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,

	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc,
	"join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
	"regex_replace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc, "split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc,
	"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,

	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
	"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": stdlib.IndexFunc, "keys": stdlib.KeysFunc,
	"length": stdlib.LengthFunc, "lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc,
	"reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc, "setsubtract": stdlib.SetSubtractFunc,
	"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	"base64decode": encoding.Base64DecodeFunc, "base64encode": encoding.Base64EncodeFunc, "urlencode": encoding.URLEncodeFunc,
	"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
	"sha1":   digest(func(s string) string { x := sha1.Sum([]byte(s)); return hex.EncodeToString(x[:]) }),
	"sha256": digest(func(s string) string { x := sha256.Sum256([]byte(s)); return hex.EncodeToString(x[:]) }),
	"sha512": digest(func(s string) string { x := sha512.Sum512([]byte(s)); return hex.EncodeToString(x[:]) }),

	"cidrhost": cidr.HostFunc, "cidrnetmask": cidr.NetmaskFunc, "cidrsubnet": cidr.SubnetFunc, "cidrsubnets": cidr.SubnetsFunc,
	"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc,

	"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
	"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
	"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tostring": stdlib.MakeToFunc(cty.String),
}

func digest(sum func(string) string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.StringVal(sum(args[0].AsString())), nil
		},
	})
}

// functions returns the library, each function within bounds.
func (r *hclReader) functions() map[string]function.Function {
	out := make(map[string]function.Function, len(library)+2)
	for name, f := range library {
		out[name] = r.bounded(name, f)
	}
	out["try"], out["can"] = tryfunc.TryFunc, tryfunc.CanFunc // they get expressions, which are metered
	return out
}

// Bounds of one call.
const (
	maxArguments = 256 << 10 // bytes of its arguments, an element counting for 64
	maxResult    = 4 << 20   // bytes of what it can make, where that is not in proportion to the arguments
)

// bounded refuses calls whose arguments or result would be huge, before they are made.
func (r *hclReader) bounded(name string, f function.Function) function.Function {
	spec := &function.Spec{
		Params: f.Params(),
		// A call's type may depend on its value, so the whole call is made once, here, and its value is kept for Impl.
		VarParam: f.VarParam(),
	}
	check := func(args []cty.Value) error {
		total, elements := 0, 0
		for _, a := range args {
			n, e := weigh(a, maxArguments)
			total, elements = total+n, elements+e
		}
		if total+48*elements > maxArguments {
			return fmt.Errorf("the arguments have more than %d bytes", maxArguments)
		}
		work := work(name, args, elements)
		if work > maxResult {
			return fmt.Errorf("the result could have more than %d bytes", maxResult)
		}
		r.left -= work
		return nil
	}
	spec.Type = func(args []cty.Value) (cty.Type, error) {
		if err := check(args); err != nil {
			return cty.NilType, err
		}
		return f.ReturnTypeForValues(args)
	}
	spec.Impl = func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if err := check(args); err != nil {
			return cty.NilVal, err
		}
		return f.Call(args)
	}
	return function.New(spec)
}

// weigh returns the bytes and the elements of a value, stopping somewhere above bound.
func weigh(v cty.Value, bound int) (bytes, elements int) {
	bytes, elements = 16, 1
	if v.IsNull() || !v.IsKnown() || v.IsMarked() {
		return
	}
	switch {
	case v.Type() == cty.String:
		bytes += len(v.AsString())
	case v.CanIterateElements():
		for it := v.ElementIterator(); it.Next() && bytes+48*elements <= bound; {
			k, x := it.Element()
			if k.Type() == cty.String && k.IsKnown() && !k.IsNull() {
				bytes += len(k.AsString())
			}
			b, e := weigh(x, bound-bytes)
			bytes, elements = bytes+b, elements+e
		}
	}
	return
}

var wide = regexp.MustCompile(`[0-9]{4}`)

// work bounds from above what a call makes, or how many steps it takes, where the arguments' size does not.
func work(name string, args []cty.Value, elements int) int {
	text := func(i int) string {
		if i < len(args) && args[i].IsKnown() && !args[i].IsNull() && args[i].Type() == cty.String {
			return args[i].AsString()
		}
		return ""
	}
	longest := 0
	for _, a := range args {
		n, _ := weigh(a, maxArguments)
		longest = max(longest, n)
	}
	switch name {
	case "join":
		return len(text(0)) * elements
	case "replace":
		if s := text(1); len(s) > 2 && s[0] == '/' && s[len(s)-1] == '/' {
			return (len(text(0)) + 1) * (len(text(2)) + len(s)/16 + 1)
		}
		return (strings.Count(text(0), text(1)) + 1) * (len(text(2)) + 1)
	case "regex_replace":
		return (len(text(0)) + 1) * (len(text(2)) + len(text(1))/16 + 1)
	case "regex", "regexall":
		return (len(text(1)) + 1) * (len(text(0))/16 + 1)
	case "format", "formatlist":
		for verb := range strings.SplitSeq(text(0), "%") {
			end := strings.IndexFunc(verb, func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' })
			if end > 0 && wide.MatchString(verb[:end]) {
				return maxResult + 1
			}
		}
		n := (strings.Count(text(0), "%") + 1) * (longest + 1_000)
		if name == "formatlist" {
			n = (len(text(0)) + strings.Count(text(0), "%")*1_000 + longest) * elements
		}
		return n
	case "indent":
		if len(args) == 2 && args[0].IsKnown() && !args[0].IsNull() && args[0].Type() == cty.Number {
			if spaces, _ := args[0].AsBigFloat().Int64(); spaces > 0 {
				return int(min(spaces, maxResult)) * (strings.Count(text(1), "\n") + 1)
			}
		}
	case "distinct", "index", "contains":
		return elements * elements / 8
	case "cidrsubnets", "chunklist":
		return elements * 64
	}
	return 0
}
