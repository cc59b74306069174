// Package spec reads what users write: jobs, roles and the agent's configuration, from HCL and from JSON, into the tagged
// structs of package structs; and writes, compares and documents them from the same tags. See structs/doc.go for the tags.
//
// It evaluates input of strangers: it opens no file, looks at no clock and no environment, and bounds size, depth and work.
package spec

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/proffer/proffer/structs"
)

// Bounds of what is read.
const (
	MaxHCL  = 1 << 20 // bytes of one HCL text
	MaxJSON = 4 << 20 // bytes of one JSON text
)

// Vars are the values that a caller gives to the variables of a job. Later kinds win over earlier ones: the default in the
// job, Env, Files in order, Flags in order.
type Vars struct {
	Env   []string // "PROFFER_VAR_name=value"; others are ignored, so os.Environ() may be passed
	Files []File   // assignments, name = value, or a JSON object; a name that the job does not declare is an error
	Flags []string // "name=value"
}

// File is a named text. The name is for messages only.
type File struct {
	Name string
	Src  []byte
}

// ParseJob reads one job in HCL as it is written: defaults are not set and nothing but its form is checked. The error lists
// all problems, each with file:line.
func ParseJob(name string, src []byte, vars Vars) (*structs.Job, error) {
	job, _, err := parseJob(name, src, vars)
	return job, err
}

// ParseJSON reads one job in JSON, as strictly as ParseJob: names that are not known and values of another type are errors.
func ParseJSON(name string, src []byte) (*structs.Job, error) {
	job, _, err := parseJSON[structs.Job](name, src)
	return job, err
}

// ReadJob reads a job in HCL, or in JSON when src begins with a brace (variables do not apply then), sets its defaults and
// validates it. The error lists all problems, each with file:line. It is what job run, plan and validate and POST /v1/jobs
// use. A nil drivers skips the check of drivers.
func ReadJob(name string, src []byte, vars Vars, drivers structs.ConfigChecks) (*structs.Job, error) {
	var (
		job    *structs.Job
		places Positions
		err    error
	)
	if looksLikeJSON(src) {
		job, places, err = parseJSON[structs.Job](name, src)
	} else {
		job, places, err = parseJob(name, src, vars)
	}
	if err != nil {
		return nil, err
	}
	job.Canonicalize()
	if err := places.Locate(job.Problems(drivers)); err != nil {
		return nil, err
	}
	return job, nil
}

// ParseRole reads one role, as HCL (role "eng/web" { … }) or as a JSON object, sets its defaults and validates it.
func ParseRole(name string, src []byte) (*structs.Role, error) {
	roles, err := ParseRoles(name, src)
	if err != nil {
		return nil, err
	}
	if len(roles) != 1 {
		return nil, structs.Errorf(structs.Invalid, name, "there are %d role blocks, not one", len(roles))
	}
	return roles[0], nil
}

// ParseRoles reads the roles of an HCL text, or one in JSON, in the order of the text; at least one. Defaults are set, and
// each role is valid.
func ParseRoles(name string, src []byte) (roles []*structs.Role, err error) {
	defer recoverInto(&err, name)
	if looksLikeJSON(src) {
		role, places, err := parseJSON[structs.Role](name, src)
		if err != nil {
			return nil, err
		}
		role.Canonicalize()
		return []*structs.Role{role}, places.Locate(role.Problems())
	}
	r := newHCLReader(name)
	body, err := r.parse(src)
	if err != nil {
		return nil, err
	}
	t := reflect.TypeFor[structs.Role]()
	found := r.topLevel(body, "role", nil)
	r.prepare(body, scope{src: src})
	ctx := r.contextFor(nil, nil)
	seen := map[string]bool{}
	for _, b := range found {
		at := r.pos(b.TypeRange)
		if len(b.Labels) != 1 {
			r.add(at, "role", "a role block has one label, its name").Advise(`write role "eng/web" { … }`)
			continue
		}
		if seen[b.Labels[0]] {
			r.add(at, "role", "there is a second role %q", b.Labels[0])
		}
		seen[b.Labels[0]] = true
		role := new(structs.Role)
		places := r.decode(role, b, t, ctx)
		if len(r.list) > 0 {
			continue
		}
		role.Canonicalize()
		for _, e := range role.Problems() {
			where, _ := places.find(e.Object)
			r.list = append(r.list, complaint{where, e})
		}
		roles = append(roles, role)
	}
	if len(found) == 0 {
		r.add(pos{file: name}, "", "there is no role block").Advise(`write role "eng/web" { … }`)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return roles, nil
}

// Decode reads HCL, or JSON when src begins with a brace, into a pointer to a tagged struct, whose blocks and attributes are
// at the top of the text. What v holds already is kept where the text says nothing: maps and single blocks merge, lists and
// repeated blocks are replaced. The positions are added to places, unless it is nil.
func Decode(name string, src []byte, v any, places Positions) (err error) {
	defer recoverInto(&err, name)
	if places == nil {
		places = Positions{}
	}
	dst := reflect.ValueOf(v).Elem()
	if looksLikeJSON(src) {
		n, err := readJSON(name, src)
		if err != nil {
			return err
		}
		f := filler{strict: true, places: places}
		f.structure(dst, n, "")
		return f.err()
	}
	r := newHCLReader(name)
	body, err := r.parse(src)
	if err != nil {
		return err
	}
	r.check(body, dst.Type(), "")
	r.prepare(body, scope{src: src})
	n := r.body(body, dst.Type(), r.contextFor(nil, nil), "")
	f := filler{places: places, complaints: r.complaints}
	f.structure(dst, n, "")
	return f.err()
}

func parseJob(name string, src []byte, vars Vars) (_ *structs.Job, _ Positions, err error) {
	defer recoverInto(&err, name)
	r := newHCLReader(name)
	body, err := r.parse(src)
	if err != nil {
		return nil, nil, err
	}
	found := r.topLevel(body, "job", []string{"variable", "locals"})
	switch {
	case len(found) == 0:
		r.add(pos{file: name}, "", "there is no job block").Advise(`write job "name" { … }`)
	case len(found) > 1:
		r.add(r.pos(found[1].TypeRange), "job", "there is a second job block").Advise("one job a file")
	case len(found[0].Labels) != 1:
		r.add(r.pos(found[0].TypeRange), "job", "a job block has one label, its name").Advise(`write job "name" { … }`)
	}
	d := r.declare(body)
	if err := r.err(); err != nil {
		return nil, nil, err
	}

	s := scope{variables: slices.Collect(maps.Keys(d.variables)), locals: slices.Collect(maps.Keys(d.locals)), src: src}
	for _, b := range body.Blocks {
		if b.Type != "variable" {
			r.prepare(b.Body, s)
		}
	}
	t := reflect.TypeFor[structs.Job]()
	r.check(found[0].Body, t, "")
	r.assign(d, vars)
	if err := r.err(); err != nil {
		return nil, nil, err
	}

	variables := make(map[string]cty.Value, len(d.variables))
	for name, v := range d.variables {
		variables[name] = v.value
	}
	locals := r.evaluateLocals(d, variables)
	if err := r.err(); err != nil {
		return nil, nil, err
	}
	job := new(structs.Job)
	places := r.decode(job, found[0], t, r.contextFor(variables, locals))
	if err := r.err(); err != nil {
		return nil, nil, err
	}
	return job, places, nil
}

// topLevel returns the blocks of one type, and notes everything at the top of a text that is not known.
func (r *hclReader) topLevel(body *hclsyntax.Body, kind string, others []string) (found []*hclsyntax.Block) {
	known := append([]string{kind}, others...)
	for _, a := range sorted(body.Attributes) {
		r.add(r.pos(a.NameRange), a.Name, "there is no attribute outside of a %s block", kind)
	}
	for _, b := range body.Blocks {
		switch {
		case b.Type == kind:
			found = append(found, b)
		case !slices.Contains(known, b.Type):
			suggest(r.add(r.pos(b.TypeRange), b.Type, "there is no block %q here", b.Type), b.Type, known)
		}
	}
	return found
}

// decode fills v, a pointer to a struct of type t, from a block with one label.
func (r *hclReader) decode(v any, b *hclsyntax.Block, t reflect.Type, ctx *hcl.EvalContext) Positions {
	if t != reflect.TypeFor[structs.Job]() {
		r.check(b.Body, t, "")
	}
	n := r.body(b.Body, t, ctx, "")
	n.pos = r.pos(b.TypeRange)
	if lt, ok := labelOf(t); ok {
		n.fields = append(n.fields, field{lt.name, n.pos, node{pos: n.pos, kind: text, text: b.Labels[0]}})
	}
	f := filler{places: Positions{}, complaints: r.complaints}
	f.structure(reflect.ValueOf(v).Elem(), n, "")
	r.complaints = f.complaints
	return f.places
}

func parseJSON[T any](name string, src []byte) (_ *T, _ Positions, err error) {
	v, places := new(T), Positions{}
	if err := Decode(name, src, v, places); err != nil {
		return nil, nil, err
	}
	return v, places, nil
}

// looksLikeJSON tells a JSON object from HCL, which cannot begin with a brace.
func looksLikeJSON(src []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(src, " \t\r\n"), []byte("{"))
}

// recoverInto turns a panic of the HCL library on strange input into an error: a text from outside must not end the process.
func recoverInto(err *error, name string) {
	if v := recover(); v != nil {
		*err = structs.Errorf(structs.Internal, name, "reading the text failed: %s", shorten(fmt.Sprint(v)))
	}
}
