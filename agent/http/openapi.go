package http

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"unicode"

	"github.com/proffer/proffer/structs"
)

type object = map[string]any

// OpenAPI describes the table as an OpenAPI 3.1 document in JSON.
func OpenAPI() []byte {
	d := describer{schemas: object{}}
	paths := object{}
	errorBody := d.schema(reflect.TypeFor[ErrorBody]())
	for _, route := range Routes() {
		path := strings.ReplaceAll(route.Path, "...}", "}")
		operations, _ := paths[path].(object)
		if operations == nil {
			operations = object{}
			paths[path] = operations
		}
		operations[strings.ToLower(route.Method)] = d.operation(&route, errorBody)
	}
	raw, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Proffer", "version": "v1",
			"description": "The HTTP API of a Proffer agent. Errors have a kind that decides the status: not_found 404, invalid 400, " +
				"conflict 409, forbidden 403 (401 without a token), unavailable 503, unknown 504, exhausted 429 (413 for a body), internal 500.",
		},
		"servers":  []object{{"url": "http://127.0.0.1:5050"}},
		"security": []object{{"bearer": []string{}}, {"header": []string{}}, {}},
		"paths":    paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{
			"bearer": object{"type": "http", "scheme": "bearer"},
			"header": object{"type": "apiKey", "in": "header", "name": "X-Proffer-Token"},
		}},
	})
	if err != nil {
		panic(err) // the table is a constant
	}
	return raw
}

type describer struct{ schemas object }

func (d *describer) operation(route *Route, errorBody object) object {
	op := object{"operationId": route.Name, "summary": route.Summary, "tags": []string{route.tag()}}
	var params []object
	for _, name := range route.pathParams() {
		params = append(params, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range route.params() {
		schema := object{"type": p.Type}
		if p.Type == "duration" {
			schema = object{"type": "string", "format": "duration", "examples": []string{"1m30s"}}
		}
		if p.Repeat {
			schema = object{"type": "array", "items": schema}
		}
		params = append(params, object{"name": p.Name, "in": "query", "description": p.Doc, "schema": schema})
	}
	if route.Flags&Write != 0 {
		params = append(params, object{"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string", "maxLength": maxKey},
			"description": "Makes it safe to send the call again: the same key has its effect once."})
	}
	if params != nil {
		op["parameters"] = params
	}
	if route.Body != nil {
		content := object{}
		for _, kind := range route.takes() {
			content[kind] = object{"schema": d.content(kind, route.Body)}
		}
		op["requestBody"] = object{"required": true, "content": content}
	}
	ok := object{"description": "Done."}
	if route.Result != nil {
		content := object{}
		for _, kind := range route.gives() {
			content[kind] = object{"schema": d.content(kind, route.Result)}
		}
		ok["description"] = "The answer."
		ok["content"] = content
	}
	status := "200"
	if strings.HasPrefix(route.Gives, "websocket") {
		status = "101"
		ok = object{"description": "A websocket; see the reference for its messages."}
	}
	op["responses"] = object{
		status:    ok,
		"default": object{"description": "It failed.", "content": object{"application/json": object{"schema": errorBody}}},
	}
	return op
}

// tag groups routes by their noun.
func (route *Route) tag() string {
	first := strings.Split(route.Path, "/")[2]
	if first != "status" {
		first = strings.TrimSuffix(first, "s")
	}
	return first
}

// content is the schema of v in a content type: only JSON has structure.
func (d *describer) content(kind string, v any) object {
	switch kind {
	case "application/json", "application/x-ndjson":
		return d.schema(reflect.TypeOf(v))
	case "application/octet-stream":
		return object{"type": "string", "format": "binary"}
	}
	return object{"type": "string"}
}

var special = map[reflect.Type]object{
	reflect.TypeFor[structs.Milli]():    {"type": "number", "description": "At most three decimals.", "examples": []float64{0.5}},
	reflect.TypeFor[structs.Bytes]():    {"type": "string", "examples": []string{"256MiB"}},
	reflect.TypeFor[structs.Duration](): {"type": "string", "examples": []string{"1m30s"}},
	reflect.TypeFor[structs.Time]():     {"type": []string{"string", "null"}, "format": "date-time"},
	reflect.TypeFor[json.RawMessage]():  {},
}

// schema describes a type; named structs become components.
func (d *describer) schema(t reflect.Type) object {
	if s, ok := special[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
			return object{"type": "string"}
		}
		return d.component(t)
	default: // the integers
		return object{"type": "integer"}
	}
}

func (d *describer) component(t reflect.Type) object {
	name := t.Name()
	if pkg := t.PkgPath(); !strings.HasSuffix(pkg, "/structs") && !strings.HasSuffix(pkg, "/api") {
		name = string(unicode.ToUpper(rune(pkg[strings.LastIndexByte(pkg, '/')+1]))) + pkg[strings.LastIndexByte(pkg, '/')+2:] + name
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if _, ok := d.schemas[name]; ok {
		return ref
	}
	d.schemas[name] = object{} // for types that hold themselves
	properties := object{}
	d.fields(t, properties)
	d.schemas[name] = object{"type": "object", "properties": properties}
	return ref
}

func (d *describer) fields(t reflect.Type, into object) {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-" || !f.IsExported():
			continue
		case f.Anonymous && tag == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			d.fields(inner, into)
			continue
		case tag == "":
			tag = f.Name
		}
		schema := d.schema(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			described := object{"description": doc}
			for k, v := range schema {
				described[k] = v
			}
			schema = described
		}
		into[tag] = schema
	}
}
