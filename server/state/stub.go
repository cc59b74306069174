package state

func (c *Initialize) Apply(tx *Tx) (any, error)      { panic("") }
func (c *SetFeatureLevel) Apply(tx *Tx) (any, error) { panic("") }
func (c *SetGeneration) Apply(tx *Tx) (any, error)   { panic("") }
func (c *RegisterNode) Apply(tx *Tx) (any, error)    { panic("") }
func (c *SetNodeStatus) Apply(tx *Tx) (any, error)   { panic("") }
func (c *LoseAllocs) Apply(tx *Tx) (any, error)      { panic("") }
func (c *SetEligibility) Apply(tx *Tx) (any, error)  { panic("") }
func (c *SetDrain) Apply(tx *Tx) (any, error)        { panic("") }
func (c *RemoveNode) Apply(tx *Tx) (any, error)      { panic("") }
func (c *SubmitJob) Apply(tx *Tx) (any, error)       { panic("") }
func (c *StopJob) Apply(tx *Tx) (any, error)         { panic("") }
func (c *ScaleJob) Apply(tx *Tx) (any, error)        { panic("") }
func (c *RestartJob) Apply(tx *Tx) (any, error)      { panic("") }
func (c *SetJobStatus) Apply(tx *Tx) (any, error)    { panic("") }
func (c *Place) Apply(tx *Tx) (any, error)           { panic("") }
func (c *Observe) Apply(tx *Tx) (any, error)         { panic("") }
func (c *StopAlloc) Apply(tx *Tx) (any, error)       { panic("") }
func (c *RestartAlloc) Apply(tx *Tx) (any, error)    { panic("") }
func (c *PutRole) Apply(tx *Tx) (any, error)         { panic("") }
func (c *DeleteRole) Apply(tx *Tx) (any, error)      { panic("") }
func (c *PutFramework) Apply(tx *Tx) (any, error)    { panic("") }
func (c *RemoveFramework) Apply(tx *Tx) (any, error) { panic("") }
func (c *Collect) Apply(tx *Tx) (any, error)         { panic("") }
