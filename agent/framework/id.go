package framework

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// FileID keeps the id in a file: for a framework of one scheduler that has a disk of its own.
func FileID(path string) IDStore { return fileID(path) }

type fileID string

func (f fileID) Load(context.Context) (string, error) {
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}

// Save replaces the file as a whole, and has it on the disk when it returns.
func (f fileID) Save(_ context.Context, id string) error {
	t, err := os.CreateTemp(filepath.Dir(string(f)), ".id-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // fails when it was renamed
	_, err = t.WriteString(id + "\n")
	if err = errors.Join(err, t.Sync(), t.Close()); err != nil {
		return err
	}
	if err := os.Rename(t.Name(), string(f)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(string(f)))
	if err != nil {
		return err
	}
	defer dir.Close()
	dir.Sync() // not every system can
	return nil
}

// VariableID keeps the id in a variable of the region, such as @batch/framework: for a framework whose scheduler may start anywhere. Of
// two schedulers that start at the same time for the first time one is refused with Conflict; api.Campaign elects one of them before that.
func VariableID(c *api.Client, path string) IDStore { return &variableID{c, path} }

type variableID struct {
	client *api.Client
	path   string
}

func (v *variableID) Load(ctx context.Context) (string, error) {
	x, _, err := v.client.Variable(ctx, v.path, nil)
	if structs.KindOf(err) == structs.NotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return x.Items["framework"], nil
}

func (v *variableID) Save(ctx context.Context, id string) error {
	_, err := v.client.PutVariable(ctx, v.path, &api.VariablePut{Items: map[string]string{"framework": id}, Check: new(uint64(0))})
	return err
}
