package state

import (
	"fmt"

	"github.com/proffer/proffer/structs"
)

// Apply names the region.
func (c *Initialize) Apply(tx *Tx) (any, error) {
	m := *tx.meta
	if m.Region != "" && c.Region != "" && m.Region != c.Region {
		return nil, structs.Errorf(structs.Conflict, fmt.Sprintf("region %q", c.Region), "this state is of region %q", m.Region)
	}
	if m.Region == "" {
		m.Region = c.Region
	}
	if m.Generation == "" {
		m.Generation = c.Generation
	}
	if m.FeatureLevel == 0 {
		m.FeatureLevel = c.Level
	}
	tx.putMeta(m)
	return tx.receipt(), nil
}

func (tx *Tx) putMeta(m Meta) {
	if m == *tx.meta {
		return
	}
	m.ModifyIndex = tx.Index
	tx.put(Metas, tx.meta, &m)
}

// Apply raises the level.
func (c *SetFeatureLevel) Apply(tx *Tx) (any, error) {
	m := *tx.meta
	if c.Level < m.FeatureLevel {
		return nil, structs.Errorf(structs.Conflict, "feature level", "%d is below the region's %d: it only rises",
			c.Level, m.FeatureLevel)
	}
	m.FeatureLevel = c.Level
	tx.putMeta(m)
	return tx.receipt(), nil
}

// Apply gives the region another generation.
func (c *SetGeneration) Apply(tx *Tx) (any, error) {
	m := *tx.meta
	m.Generation = c.Generation
	tx.putMeta(m)
	return tx.receipt(), nil
}

// atLevel refuses a command that the region's feature level does not have yet.
func (tx *Tx) atLevel(level int, what string) error {
	if tx.meta.FeatureLevel >= level {
		return nil
	}
	return structs.Errorf(structs.Unavailable, what, "the region runs at feature level %d and this needs %d",
		tx.meta.FeatureLevel, level).Advise("upgrade the remaining servers")
}
