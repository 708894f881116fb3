package condition

// The types of brokers, beside those of all kinds. Each is there while it has something to say.
const (
	CertificateReady     = "CertificateReady"     // the certificate of spec.tls is in use
	ConfigurationPending = "ConfigurationPending" // keys are not in force yet
	StorageExpanding     = "StorageExpanding"     // the volume grows, or cannot
	RouteReady           = "RouteReady"           // the way to the WebSocket listener was made
	Paused               = "Paused"               // nothing is written
)

// Their reasons, and those of Ready that go with them.
const (
	InUse               = "InUse"               // the certificate is shown
	CertificateUnusable = "CertificateUnusable" // it does not fit its key, or has ended
	CertManagerMissing  = "CertManagerMissing"  // the cluster knows no Certificate
	IssuerPending       = "IssuerPending"       // the issuer has not answered
	ClientCAUnusable    = "ClientCAUnusable"    // the authorities or revocation lists of clients cannot be read
	Restart             = "Restart"             // the pod restarts for the configuration
	NotReadYet          = "NotReadYet"          // the broker has not read the configuration yet
	Unreadable          = "Unreadable"          // the broker cannot use the configuration
	Expanding           = "Expanding"           // the volume grows
	ExpansionRefused    = "ExpansionRefused"    // it cannot
	Routed              = "Routed"              // the route was made
	GatewayMissing      = "GatewayMissing"      // the cluster knows no HTTPRoute
	Hibernated          = "Hibernated"          // no pod runs, as spec.replicas says
	ByAnnotation        = "ByAnnotation"        // somebody asked for a pause
)
