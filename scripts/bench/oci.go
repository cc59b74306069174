//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os/exec"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

const (
	largeImage = 200 << 20
	pulls      = 3
)

// measureOCI starts containers of an image that is there, and of large ones that are not, which an engine pulls as well, from the
// same registry.
func measureOCI(ctx context.Context, b *bench) (err error) {
	if _, err := exec.LookPath("busybox"); err != nil {
		return errors.New("busybox is needed (apt-get install busybox-static runc docker.io), and root")
	}
	hub := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer hub.Close()
	push := func(tag string, image v1.Image) (string, error) {
		ref, err := name.ParseReference(strings.TrimPrefix(hub.URL, "http://") + "/" + tag)
		if err == nil {
			err = remote.Write(ref, image)
		}
		return ref.Name(), err
	}
	a, err := b.startDev(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	run := func(job *structs.Job) (time.Duration, error) {
		took, err := a.submitAndWait(ctx, job, "allocation", running)
		return took, errors.Join(err, a.end(ctx, job.Name))
	}
	of := func(n int, image string) *structs.Job {
		j := job(fmt.Sprintf("oci-%d", n), structs.ServiceJob, 1, "oci", map[string]any{"image": image, "command": "sleep", "args": []any{"100000"}})
		t := j.Groups[0].Tasks[0]
		t.Resources.Memory, t.KillSignal = 16<<20, "SIGKILL" // as the first process of its namespace, sleep takes no notice of another
		return j
	}
	small, err := push("busybox:1", dockertest.Busybox())
	if err != nil {
		return err
	}
	var starts spread
	const warm = 3
	for i := range min(b.samples, 100) + warm {
		took, err := run(of(i, small))
		if err != nil {
			return err
		}
		if i >= warm {
			starts = append(starts, took)
		}
	}
	b.add(figure{What: fmt.Sprintf("oci: submit to running, image present, p50 of %d", len(starts)), Unit: "ms", Must: 60, Aim: 35, Got: ms(starts.at(0.5)),
		Note: fmt.Sprintf("p99 %.0f ms", ms(starts.at(0.99)))})
	if err := rateOfContainers(ctx, b, a, small); err != nil {
		return err
	}

	e, err := dockertest.Start()
	if err != nil {
		return fmt.Errorf("a Docker engine is needed (apt-get install docker.io busybox-static), and root: %w", err)
	}
	defer func() { err = errors.Join(err, e.End()) }()
	busybox, _ := exec.LookPath("busybox")
	var ours, theirs spread
	for i := range pulls {
		ref, err := push(fmt.Sprintf("large:%d", i), dockertest.Image(busybox, halfRandom(largeImage)))
		if err != nil {
			return err
		}
		took, err := run(of(1000+i, ref))
		if err != nil {
			return err
		}
		ours = append(ours, took)
		begun := time.Now()
		progress, err := e.API.ImagePull(ctx, ref, client.ImagePullOptions{})
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, progress); err != nil {
			return err
		}
		progress.Close()
		theirs = append(theirs, time.Since(begun))
	}
	b.add(figure{What: "oci: pull and unpack of 200 MB against docker pull", Unit: "×", Must: 1, Aim: 0.7, Got: float64(ours.at(0.5)) / float64(theirs.at(0.5)),
		Note: fmt.Sprintf("submit to running, start included, %.2f s, docker pull %.2f s, the middle of %d in turn", ours.at(0.5).Seconds(), theirs.at(0.5).Seconds(), pulls)})
	return nil
}

// halfRandom makes a text that gzip halves.
func halfRandom(size int) string {
	raw := make([]byte, size/2)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}
