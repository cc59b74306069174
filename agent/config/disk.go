package config

import (
	"path/filepath"

	"github.com/proffer/proffer/structs"
)

// diskProblems adds what is wrong with disks.
func diskProblems(list []*Disk, p *structs.Problems) {
	if len(list) > structs.MaxDisks {
		p.Add("client.disk", "%d are more than %d", len(list), structs.MaxDisks)
	}
	named, paths := map[string]bool{}, map[string]bool{}
	for _, d := range list {
		at := "client.disk." + d.Name
		switch {
		case !structs.ValidDiskName(d.Name):
			p.Add(at, "%q is not a name for a disk", d.Name).Advise("up to %d letters, digits, - _ and ., a letter or digit first", structs.MaxDiskName)
		case named[d.Name]:
			p.Add(at, "the disk has two blocks")
		case d.Type != string(structs.DiskMount) && d.Type != string(structs.DiskPath):
			p.Add(at+".type", "%q is no type of a disk", d.Type).Advise("mount or path")
		case !filepath.IsAbs(d.Path):
			p.Add(at+".path", "%q is not an absolute path", d.Path)
		case paths[filepath.Clean(d.Path)]:
			p.Add(at+".path", "another disk is there, too")
		}
		named[d.Name], paths[filepath.Clean(d.Path)] = true, true
	}
}
