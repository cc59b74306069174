package wire

// Call is what a framework sends.
type Call struct {
	FrameworkID    *ID              `w:"framework_id,1"`
	Type           *CallType        `w:"type,2"`
	Subscribe      *Subscribe       `w:"subscribe,3"`
	Accept         *Accept          `w:"accept,4"`
	Decline        *Decline         `w:"decline,5"`
	Kill           *Kill            `w:"kill,6"`
	Shutdown       *Shutdown        `w:"shutdown,7"`
	Acknowledge    *Acknowledge     `w:"acknowledge,8"`
	Reconcile      *Reconcile       `w:"reconcile,9"`
	Message        *Message         `w:"message,10"`
	Request        *Requests        `w:"request,11"`
	AcceptInverse  *AnswerInverse   `w:"accept_inverse_offers,13"`
	DeclineInverse *AnswerInverse   `w:"decline_inverse_offers,14"`
	Revive         *Roles           `w:"revive,15"`
	Suppress       *Roles           `w:"suppress,16"`
	AckOperation   *AckOperation    `w:"acknowledge_operation_status,17"`
	ReconcileOps   *ReconcileOps    `w:"reconcile_operations,18"`
	Update         *UpdateFramework `w:"update_framework,19"`
}

type Subscribe struct {
	FrameworkInfo    FrameworkInfo     `w:"framework_info,1,required"`
	SuppressedRoles  []string          `w:"suppressed_roles,2"`
	OfferConstraints *OfferConstraints `w:"offer_constraints,3"`
}

type UpdateFramework struct {
	FrameworkInfo    FrameworkInfo     `w:"framework_info,1,required"`
	SuppressedRoles  []string          `w:"suppressed_roles,2"`
	OfferConstraints *OfferConstraints `w:"offer_constraints,3"`
}

type Accept struct {
	OfferIDs   []ID        `w:"offer_ids,1"`
	Operations []Operation `w:"operations,2"`
	Filters    *Filters    `w:"filters,3"`
}

type Decline struct {
	OfferIDs []ID     `w:"offer_ids,1"`
	Filters  *Filters `w:"filters,2"`
}

type AnswerInverse struct {
	OfferIDs []ID     `w:"inverse_offer_ids,1"`
	Filters  *Filters `w:"filters,2"`
}

type Roles struct {
	Roles []string `w:"roles,1"`
}

type Kill struct {
	TaskID     ID          `w:"task_id,1,required"`
	AgentID    *ID         `w:"agent_id,2"`
	KillPolicy *KillPolicy `w:"kill_policy,3"`
}

type Shutdown struct {
	ExecutorID ID `w:"executor_id,1,required"`
	AgentID    ID `w:"agent_id,2,required"`
}

type Acknowledge struct {
	AgentID ID     `w:"agent_id,1,required"`
	TaskID  ID     `w:"task_id,2,required"`
	UUID    []byte `w:"uuid,3,required"`
}

type Reconcile struct {
	Tasks []ReconcileTask `w:"tasks,1"`
}

type ReconcileTask struct {
	TaskID  ID  `w:"task_id,1,required"`
	AgentID *ID `w:"agent_id,2"`
}

type Message struct {
	AgentID    ID     `w:"agent_id,1,required"`
	ExecutorID ID     `w:"executor_id,2,required"`
	Data       []byte `w:"data,3,required"`
}

type Requests struct {
	Requests []Request `w:"requests,1"`
}

type Request struct {
	AgentID   *ID        `w:"agent_id,1"`
	Resources []Resource `w:"resources,2"`
}

type OfferConstraints struct {
	RoleConstraints map[string]*RoleConstraints `w:"role_constraints,1"`
}

type RoleConstraints struct {
	Groups []ConstraintGroup `w:"groups,1"`
}

type ConstraintGroup struct {
	Constraints []AttributeConstraint `w:"attribute_constraints,1"`
}

type AttributeConstraint struct {
	Selector  Selector  `w:"selector,1,required"`
	Predicate Predicate `w:"predicate,2,required"`
}

type Selector struct {
	Pseudo    *PseudoAttribute `w:"pseudoattribute_type,1"`
	Attribute *string          `w:"attribute_name,2"`
}

type Predicate struct {
	Exists     *Exists    `w:"exists,1"`
	NotExists  *Exists    `w:"not_exists,2"`
	Equals     *Text      `w:"text_equals,3"`
	NotEquals  *Text      `w:"text_not_equals,4"`
	Matches    *TextMatch `w:"text_matches,5"`
	NotMatches *TextMatch `w:"text_not_matches,6"`
}

type Exists struct{}

type TextMatch struct {
	Regex string `w:"regex,1,required"`
}

// Event is what a framework is sent.
type Event struct {
	Type           *EventType      `w:"type,1"`
	Subscribed     *Subscribed     `w:"subscribed,2"`
	Offers         *Offers         `w:"offers,3"`
	Rescind        *Rescind        `w:"rescind,4"`
	Update         *Update         `w:"update,5"`
	Message        *Message        `w:"message,6"`
	Failure        *Failure        `w:"failure,7"`
	Error          *Error          `w:"error,8"`
	InverseOffers  *InverseOffers  `w:"inverse_offers,9"`
	RescindInverse *RescindInverse `w:"rescind_inverse_offer,10"`
	OperationNews  *OperationNews  `w:"update_operation_status,11"`
}

type Subscribed struct {
	FrameworkID       ID          `w:"framework_id,1,required"`
	HeartbeatInterval *float64    `w:"heartbeat_interval_seconds,2"`
	MasterInfo        *MasterInfo `w:"master_info,3"`
}

type Offers struct {
	Offers []Offer `w:"offers,1"`
}

type InverseOffers struct {
	InverseOffers []InverseOffer `w:"inverse_offers,1"`
}

type Rescind struct {
	OfferID ID `w:"offer_id,1,required"`
}

type RescindInverse struct {
	OfferID ID `w:"inverse_offer_id,1,required"`
}

type Update struct {
	Status TaskStatus `w:"status,1,required"`
}

type Failure struct {
	AgentID    *ID    `w:"agent_id,1"`
	ExecutorID *ID    `w:"executor_id,2"`
	Status     *int32 `w:"status,3"`
}

type Error struct {
	Message string `w:"message,1,required"`
}
