package api

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// VariableDetail is a variable with its values.
type VariableDetail struct {
	structs.Variable
	Items map[string]string `json:"items"`
}

// VariablePut puts values in the place of those that a variable had.
type VariablePut struct {
	Items  map[string]string `json:"items"`
	Secret bool              `json:"secret,omitempty"` // one that is secret stays so
	TTL    structs.Duration  `json:"ttl,omitempty"`    // it is gone after so long, unless it is renewed; 0: it stays
	Check  *uint64           `json:"check,omitempty"`  // must be its version now; 0: there must be none
}

// VariableRenew gives a variable another time to live.
type VariableRenew struct {
	TTL   structs.Duration `json:"ttl"`
	Check uint64           `json:"check"` // must be its version
}

// RegionKey is a key that variables are sealed with, and who has it.
type RegionKey struct {
	structs.RegionKey
	Variables int      `json:"variables"` // that are sealed with it
	Servers   []string `json:"servers"`   // that have it
	Asked     int      `json:"asked"`     // servers that answered
}

// KeyExport has keys of a region in clear.
type KeyExport struct {
	Keys [][]byte `json:"keys"`
}

// Variables lists variables by path, without their values, a page at a time.
func (c *Client) Variables(ctx context.Context, q *Query) ([]*structs.Variable, *Meta, error) {
	return get[[]*structs.Variable](ctx, c, q, "/v1/vars")
}

// Variable returns a variable with its values.
func (c *Client) Variable(ctx context.Context, path string, q *Query) (*VariableDetail, *Meta, error) {
	return get[*VariableDetail](ctx, c, q, variablePath(path))
}

// PutVariable puts a variable. The Index of the answer is its version.
func (c *Client) PutVariable(ctx context.Context, path string, p *VariablePut) (*Written, error) {
	return write[Written](ctx, c, "PUT", variablePath(path), nil, p)
}

// RenewVariable gives a variable that expires another time to live.
func (c *Client) RenewVariable(ctx context.Context, path string, r *VariableRenew) (*Written, error) {
	return write[Written](ctx, c, "POST", variablePath(path), nil, r)
}

// DeleteVariable removes a variable; with check only if that is its version.
func (c *Client) DeleteVariable(ctx context.Context, path string, check *uint64) (*Written, error) {
	v := url.Values{}
	if check != nil {
		v.Set("check", strconv.FormatUint(*check, 10))
	}
	return write[Written](ctx, c, "DELETE", variablePath(path), v, nil)
}

// Services lists the services of the region by name, a page at a time.
func (c *Client) Services(ctx context.Context, q *Query) ([]*structs.ServiceSummary, *Meta, error) {
	return get[[]*structs.ServiceSummary](ctx, c, q, "/v1/services")
}

// Service returns the allocations that give a service now.
func (c *Client) Service(ctx context.Context, name string, q *Query) ([]*structs.ServiceInstance, *Meta, error) {
	return get[[]*structs.ServiceInstance](ctx, c, q, elements("/v1/service", name, nil))
}

// RegionKeys lists the keys that variables are sealed with, the active one first.
func (c *Client) RegionKeys(ctx context.Context) ([]*RegionKey, error) {
	out, _, err := getWith[[]*RegionKey](ctx, c, nil, "/v1/operator/keys")
	return out, err
}

// RotateKey has variables sealed with a new key from now on, and those that there are by and by.
func (c *Client) RotateKey(ctx context.Context) (*Done, error) {
	return send[Done](ctx, c, call{method: "POST", path: "/v1/operator/keys/rotate", write: true, once: true}, nil)
}

// ExportKeys returns the keys of the region in clear.
func (c *Client) ExportKeys(ctx context.Context) (*KeyExport, error) {
	out, _, err := getWith[*KeyExport](ctx, c, nil, "/v1/operator/keys/export")
	return out, err
}

// ImportKeys gives the servers keys of a backup.
func (c *Client) ImportKeys(ctx context.Context, keys *KeyExport) (*Done, error) {
	return write[Done](ctx, c, "PUT", "/v1/operator/keys/import", nil, keys)
}

// DropKey forgets a key that nothing is sealed with.
func (c *Client) DropKey(ctx context.Context, id string) (*Written, error) {
	return write[Written](ctx, c, "DELETE", elements("/v1/operator/key", id, nil), nil, nil)
}

// variablePath keeps the slashes.
func variablePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/v1/var/" + strings.Join(parts, "/")
}
