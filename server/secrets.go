package server

import (
	"context"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// Values that frameworks send with their tasks and that nobody else is to see. They are sealed as variables are, before they are in the
// log, and only the node of their allocation gets them, when a task of it asks. They are opened when a task starts, and stay sealed as they
// came: their key cannot be removed before their allocation ended.

// secretPath is what a value is sealed for.
func secretPath(name string) string { return "@secret/" + name }

// sealSecrets seals what the launches of an accept bring in clear, for their tasks and for volumes.
func (s *Server) sealSecrets(ctx context.Context, ops []*FrameworkOperation) error {
	key := ""
	all := func(secrets []*structs.SentSecret) ([]*structs.SentSecret, error) {
		if len(secrets) == 0 {
			return secrets, nil
		}
		if key == "" {
			var err error
			if key, err = s.activeKey(ctx); err != nil {
				return nil, err
			}
		}
		out := make([]*structs.SentSecret, len(secrets))
		for i, clear := range secrets {
			sealed, err := s.ring.Seal(key, secretPath(clear.Name), map[string]string{"": string(clear.Sealed.Data)})
			if err != nil {
				return nil, err
			}
			out[i] = &structs.SentSecret{Name: clear.Name, Sealed: sealed}
		}
		return out, nil
	}
	for _, op := range ops {
		if op.Launch == nil {
			continue
		}
		for _, v := range op.Launch.Volumes {
			if err := s.sealOutside(ctx, v); err != nil {
				return err
			}
		}
		x := op.Launch.External
		var err error
		if x.Secrets, err = all(x.Secrets); err != nil {
			return err
		}
		for _, t := range x.Tasks {
			if t.Secrets, err = all(t.Secrets); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAtSecret is lookAt for a value of an allocation, which never changes.
func (s *Server) lookAtSecret(ctx context.Context, a *structs.Allocation, ref session.Ref, name string) (item *session.Item, again time.Duration) {
	item = &session.Item{Ref: ref, Secret: true}
	if a == nil {
		item.Missing, item.Unknown = "this server does not know the allocation", true
		return item, 0
	}
	var sealed structs.Sealed
	for x := range a.External.Sent() {
		if x.Name == name {
			sealed = x.Sealed
		}
	}
	if sealed.Key == "" {
		item.Missing = "its framework sent none of that name"
		return item, 0
	}
	values, err := s.unseal(ctx, secretPath(name), sealed)
	if err != nil {
		item.Missing, item.Unknown = err.Error(), true
		return item, 10 * time.Second
	}
	item.Values = values
	return item, 0
}
