package v1alpha1

// Rate is what may come in a second. A rate that is not set, or 0, is as the broker's configuration has it, and where that
// says nothing there is none; -1 is unlimited whatever the configuration says.
type Rate struct {
	// MessagesPerSecond that are published.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	MessagesPerSecond *int64 `json:"messagesPerSecond,omitempty"`
	// BytesPerSecond of what is published, payloads alone.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	BytesPerSecond *int64 `json:"bytesPerSecond,omitempty"`
	// ConnectsPerSecond is how many connections may begin; more are refused.
	// +kubebuilder:validation:Minimum=-1
	// +optional
	ConnectsPerSecond *int64 `json:"connectsPerSecond,omitempty"`
}

// Rates hold clients to so much a second, where their user's own limits do not say otherwise.
type Rates struct {
	// Client is the rate of each client: of an MQTT client id, or of a connection of AMQP.
	// +optional
	Client *Rate `json:"client,omitempty"`
	// User is the rate of all connections of a user together.
	// +optional
	User *Rate `json:"user,omitempty"`
	// OnExcess says what happens to those who publish more: slow-down (they are not listened to for a while), drop (their
	// messages are dropped or refused), disconnect.
	// +kubebuilder:validation:Enum=slow-down;drop;disconnect
	// +optional
	OnExcess string `json:"onExcess,omitempty"`
}

// UserLimits are those of one user. What they do not say is as the broker's configuration has it.
type UserLimits struct {
	// MaxConnections that may be open at a time; 0 is no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxConnections int32 `json:"maxConnections,omitempty"`
	Rates          `json:",inline"`
}
