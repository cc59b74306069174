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
		case d.Type == string(structs.DiskRaw):
			rawProblems(at, d, p)
			named[d.Name] = true
			continue
		case d.Type != string(structs.DiskMount) && d.Type != string(structs.DiskPath):
			p.Add(at+".type", "%q is no type of a disk", d.Type).Advise("mount, path or raw")
		case d.Plugin != "" || d.Size != 0 || d.FSType != "" || len(d.Parameters) > 0:
			p.Add(at, "plugin, size, fs_type and parameters are of raw disks").Advise("leave them out, or set type = \"raw\"")
		case !filepath.IsAbs(d.Path):
			p.Add(at+".path", "%q is not an absolute path", d.Path)
		case paths[filepath.Clean(d.Path)]:
			p.Add(at+".path", "another disk is there, too")
		}
		named[d.Name], paths[filepath.Clean(d.Path)] = true, true
	}
}

// rawProblems adds what is wrong with a raw disk.
func rawProblems(at string, d *Disk, p *structs.Problems) {
	if d.Path != "" {
		p.Add(at+".path", "a raw disk is what its plugin has, and at no path").Advise("leave path out")
	}
	if d.Size < 1<<20 || d.Size > structs.MaxVolumeSize {
		p.Add(at+".size", "%s is out of range (1MiB to 1PiB)", d.Size).Advise("say how much of the storage may be made into disks")
	}
	(&structs.NodeDisk{Plugin: d.Plugin, FSType: d.FSType, Parameters: d.Parameters}).RawProblems(p, at)
}
