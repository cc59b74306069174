package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/proffer/proffer/client/fetch"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// fetchedMark is a file in the task folder, which is the agent's: it names the artifacts that are complete there. So they are fetched
// once for an allocation, and again after a kill in between.
const fetchedMark = ".fetched"

// fetch puts the artifacts of a task into its folder, one after the other. ctx ends when something else is wanted.
func (t *task) fetch(ctx context.Context, scope *taskdir.Scope, def *structs.Task) error {
	if len(def.Artifacts) == 0 {
		return nil
	}
	a := t.alloc
	if a.node.Fetch == nil {
		return structs.Errorf(structs.Invalid, fmt.Sprintf("task %q", t.name), "this node fetches no artifacts")
	}
	list := make([]*structs.Artifact, len(def.Artifacts))
	for i, artifact := range def.Artifacts {
		resolved, err := scope.ExpandArtifact(artifact)
		if err != nil {
			return structs.Errorf(structs.Invalid, fmt.Sprintf("artifact %d", i+1), "%w", err)
		}
		list[i] = resolved
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	mark := hex.EncodeToString(sum[:])
	if err := a.dir.Create(def.Name, scope.Owner()); err != nil {
		return err
	}
	root, err := os.OpenRoot(a.dir.Task(def.Name))
	if err != nil {
		return drivers.DiskError("task folder", err)
	}
	defer root.Close()
	if have, err := root.ReadFile(fetchedMark); err == nil && string(have) == mark {
		return nil
	}
	if err := root.Remove(fetchedMark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return drivers.DiskError("task folder", err)
	}
	uid, gid := -1, -1
	if o := scope.Owner(); os.Geteuid() == 0 {
		uid, gid = o.UID, o.GID
	}
	for _, artifact := range list {
		order := fetch.Order{Artifact: artifact, Root: root, UID: uid, GID: gid, Say: func(text string) { t.progress("fetching", text) }}
		if err := a.node.Fetch.Deliver(ctx, order); err != nil {
			if ctx.Err() == nil {
				a.node.Counts.Unfetched.Add(1)
			}
			return err
		}
	}
	if err := root.WriteFile(fetchedMark, []byte(mark), 0o600); err != nil {
		return drivers.DiskError("task folder", err)
	}
	a.node.Counts.Fetched.Add(1)
	return nil
}
