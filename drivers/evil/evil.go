// Package evil tries what must be refused: archives that write outside of the folder that they are unpacked into, ports of others. Tests share it.
package evil

import (
	"archive/tar"
	"io"
	"path/filepath"
	"strings"
)

// Entry is one of an archive.
type Entry struct {
	Name, Link, Body string
	Kind             byte // of package tar; 0: what the name says, a folder where it ends in a slash
	Mode             int64
	PAX              map[string]string
}

// Archives returns them by what they try. victim is the absolute path of a file that must not change; its folder has nothing else.
func Archives(victim string) map[string][]Entry {
	outside := filepath.Dir(victim)
	up := strings.Repeat("../", 20)
	at := func(name string) Entry { return Entry{Name: name, Body: "pwned", Mode: 0o777} }
	link := func(name, to string) Entry { return Entry{Name: name, Link: to, Kind: tar.TypeSymlink} }
	hard := func(name, to string) Entry { return Entry{Name: name, Link: to, Kind: tar.TypeLink} }
	return map[string][]Entry{
		"dots":                        {at(up + victim)},
		"dots inside":                 {at("a/../../" + up + victim)},
		"absolute":                    {at(victim)},
		"through an absolute link":    {link("x", outside), at("x/victim")},
		"through a relative link":     {link("x", up+outside), at("x/victim")},
		"through two links":           {link("x", "y"), link("y", outside), at("x/victim")},
		"through a deep link":         {Entry{Name: "d/"}, link("d/x", outside), at("d/x/victim")},
		"over a link":                 {link("x", victim), at("x")},
		"link made a folder":          {link("x", outside), Entry{Name: "x/", Mode: 0o777}, at("x/victim")},
		"folder made a link":          {Entry{Name: "x/", Mode: 0o777}, link("x", outside), at("x/victim")},
		"folder's times":              {Entry{Name: "d/x/", Mode: 0o777}, link("d/x", outside)},
		"hard link to the outside":    {hard("x", victim), at("x")},
		"hard link by dots":           {hard("x", up+victim), at("x")},
		"hard link through a link":    {link("d", outside), hard("x", "d/victim"), at("x")},
		"hard link to a link":         {link("l", victim), hard("x", "l"), at("x")},
		"hard link to a folder":       {Entry{Name: "d/"}, hard("x", "d")},
		"hard link to nothing":        {hard("x", "nothing")},
		"the root a link":             {link("./", outside), at("victim")},
		"whiteout of dots":            {Entry{Name: "d/.wh..."}, Entry{Name: ".wh..."}, Entry{Name: ".wh.."}},
		"whiteout through a link":     {link("x", outside), Entry{Name: "x/.wh.victim"}},
		"opaque through a link":       {link("x", outside), Entry{Name: "x/.wh..wh..opq"}},
		"magic link":                  {link("x", "/proc/self/root"+outside), at("x/victim")},
		"magic link to a folder":      {link("x", "/proc/self/cwd"), at("x/victim")},
		"a loop of links":             {link("x", "y"), link("y", "x"), at("x/z")},
		"device":                      {Entry{Name: "x", Kind: tar.TypeBlock, Mode: 0o666}, Entry{Name: "n", Kind: tar.TypeChar}},
		"name too long":               {at(strings.Repeat("n", 300))},
		"very deep":                   {at(strings.Repeat("d/", 3000) + "x")},
		"file below a file":           {at("f"), at("f/g")},
		"more than the node takes":    {Entry{Name: "big", Body: strings.Repeat("0", 9<<20)}},
		"attributes of the overlay":   {Entry{Name: "x/", PAX: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": outside}}},
		"link as folder through dots": {link("x", ".."), at("x/" + filepath.Base(outside))},
	}
}

// Tar writes an archive.
func Tar(w io.Writer, entries []Entry) error {
	out := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.Name, Linkname: e.Link, Typeflag: e.Kind, Mode: e.Mode, Size: int64(len(e.Body)), PAXRecords: e.PAX}
		switch {
		case e.Kind == 0 && strings.HasSuffix(e.Name, "/"):
			h.Typeflag = tar.TypeDir
		case e.Kind == 0:
			h.Typeflag = tar.TypeReg
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(out, e.Body); err != nil {
			return err
		}
	}
	return out.Close()
}
