package structs

// Bind is a folder or file that a task of an external framework sees beside its own, as its ContainerInfo says. Jobs have volume
// blocks and the settings of their drivers instead.
type Bind struct {
	From        BindFrom    `json:"from"`
	Source      string      `json:"source"`      // a path on the host; below the folder that From is, or the name of a secret's file
	Destination string      `json:"destination"` // where the task sees it, an absolute path
	ReadOnly    bool        `json:"read_only,omitempty"`
	Propagation Propagation `json:"propagation,omitempty"`
}

// BindFrom is where the source of a Bind is.
type BindFrom string

const (
	// BindHost is the node, as far as its configuration lets tasks mount it.
	BindHost BindFrom = "host"
	// BindOwn is the working folder of the task, and BindShared that of all tasks of its allocation. What is not there is made, as a folder.
	BindOwn    BindFrom = "own"
	BindShared BindFrom = "shared"
	// BindSecret is a file of the secrets of the task, which a template wrote.
	BindSecret BindFrom = "secret"
)

// Secret says where the text of a template of an external framework's task comes from, instead of its data: a value that the framework
// sent with the task, or an item of a variable. It is not a text that is rendered, and may be any bytes.
type Secret struct {
	Sealed string `json:"sealed,omitempty"` // the name of one among ExternalTask.Secrets or External.Secrets
	// Variable is the path of a variable, and Item one of its values; an empty one is the only one that it has.
	Variable string `json:"variable,omitempty"`
	Item     string `json:"item,omitempty"`
	Env      string `json:"env,omitempty"` // the environment variable that it is; empty: none
	// Image is of what the image of the task is asked for with, as docker login writes it, or with a Mount that of its image_mount with this
	// destination: it is no file, and nothing of the task sees it.
	Image bool   `json:"image,omitempty"`
	Mount string `json:"mount,omitempty"`
}
