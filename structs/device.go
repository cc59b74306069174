package structs

import "strings"

// AssignedDevice is a device that a task has for itself alone.
type AssignedDevice struct {
	Resource string `json:"resource"` // the custom resource that it is one of, such as gpus
	ID       string `json:"id"`
	Model    string `json:"model,omitempty"`
}

// MaxCores bounds the cores that one task may have for itself.
const MaxCores = 1024

// GPUs is the resource of the GPUs of a node; those of another model than most have one of their own, gpus-MODEL.
const GPUs = "gpus"

// IsGPU reports whether a custom resource is GPUs.
func IsGPU(name string) bool { return name == GPUs || strings.HasPrefix(name, GPUs+"-") }
