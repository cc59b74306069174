package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth bounds how deep values and blocks are nested.
const maxDepth = 64

// jsonReader turns JSON into nodes with lines.
type jsonReader struct {
	complaints
	file string
	src  []byte
	dec  *json.Decoder
	at   int64 // where line was counted
	line int
}

var errStop = errors.New("stop")

// readJSON parses one JSON value.
func readJSON(file string, src []byte) (node, error) {
	r := &jsonReader{file: file, src: src, dec: json.NewDecoder(bytes.NewReader(src)), line: 1}
	r.dec.UseNumber()
	if len(src) > MaxJSON {
		r.add(pos{file: file}, "", "the text has %d bytes, more than %d", len(src), MaxJSON)
		return node{}, r.err()
	}
	if !utf8.Valid(src) {
		r.add(pos{file, 1 + bytes.Count(src[:firstInvalid(src)], []byte("\n"))}, "", "the text is not valid UTF-8")
		return node{}, r.err()
	}
	n, err := r.value("", 0)
	if err == nil {
		if _, err = r.dec.Token(); err == io.EOF {
			err = nil
		} else if err == nil {
			r.add(r.pos(), "", "something follows the end of the value")
		}
	}
	if err != nil && err != errStop {
		r.syntax(err)
	}
	return n, r.err()
}

// pos is the place of the token that was read last.
func (r *jsonReader) pos() pos {
	if end := min(r.dec.InputOffset(), int64(len(r.src))); end > r.at {
		r.line += bytes.Count(r.src[r.at:end], []byte("\n"))
		r.at = end
	}
	return pos{r.file, r.line}
}

func (r *jsonReader) syntax(err error) {
	var bad *json.SyntaxError
	at, why := r.pos(), err.Error()
	if errors.As(err, &bad) {
		end := min(max(bad.Offset, 0), int64(len(r.src)))
		at.line = 1 + bytes.Count(r.src[:end], []byte("\n"))
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF || why == "unexpected end of JSON input" {
		at.line = 1 + bytes.Count(bytes.TrimRight(r.src, " \t\r\n"), []byte("\n"))
		why = "the text ends too early"
	}
	r.add(at, "", "%s", why)
}

func (r *jsonReader) value(path string, depth int) (node, error) {
	t, err := r.dec.Token()
	if err != nil {
		return node{}, err
	}
	n := node{pos: r.pos()}
	if depth > maxDepth {
		r.add(n.pos, path, "values are nested more than %d deep", maxDepth)
		return n, errStop
	}
	switch t := t.(type) {
	case nil:
	case string:
		n.kind, n.text = text, t
	case json.Number:
		n.kind, n.text = number, t.String()
	case bool:
		n.kind, n.yes = boolean, t
	case json.Delim:
		if t == '[' {
			n.kind = list
			for r.dec.More() {
				x, err := r.value(fmt.Sprintf("%s[%d]", path, len(n.list)), depth+1)
				if err != nil {
					return n, err
				}
				n.list = append(n.list, x)
			}
		} else {
			n.kind = object
			seen := map[string]bool{}
			for r.dec.More() {
				k, err := r.dec.Token()
				if err != nil {
					return n, err
				}
				name, at := k.(string), r.pos()
				if seen[name] {
					r.add(at, join(path, name), "%q is here twice", name)
				}
				seen[name] = true
				x, err := r.value(join(path, name), depth+1)
				if err != nil {
					return n, err
				}
				n.fields = append(n.fields, field{name, at, x})
			}
		}
		if _, err := r.dec.Token(); err != nil { // the closing bracket
			return n, err
		}
	}
	return n, nil
}

func firstInvalid(src []byte) int {
	for i := 0; i < len(src); {
		c, n := utf8.DecodeRune(src[i:])
		if c == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(src)
}
