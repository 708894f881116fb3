package packet

import "fmt"

// ReasonCode is the result of an operation in MQTT 5; the endpoint translates it for older versions. [MQTT 5 §2.4]
type ReasonCode uint8

// The reason codes. Those from Failure on are errors.
const (
	Success                     ReasonCode = 0x00 // also Normal disconnection
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	DisconnectWithWill          ReasonCode = 0x04
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	ContinueAuthentication      ReasonCode = 0x18
	Reauthenticate              ReasonCode = 0x19
	Failure                     ReasonCode = 0x80 // Unspecified error
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationError         ReasonCode = 0x83
	UnsupportedVersion          ReasonCode = 0x84
	ClientIDNotValid            ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8a
	ServerShuttingDown          ReasonCode = 0x8b
	BadAuthenticationMethod     ReasonCode = 0x8c
	KeepAliveTimeout            ReasonCode = 0x8d
	SessionTakenOver            ReasonCode = 0x8e
	TopicFilterInvalid          ReasonCode = 0x8f
	TopicNameInvalid            ReasonCode = 0x90
	PacketIDInUse               ReasonCode = 0x91
	PacketIDNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9a
	QoSNotSupported             ReasonCode = 0x9b
	UseAnotherServer            ReasonCode = 0x9c
	ServerMoved                 ReasonCode = 0x9d
	SharedSubscriptionsNotKnown ReasonCode = 0x9e
	ConnectionRateExceeded      ReasonCode = 0x9f
	MaximumConnectTime          ReasonCode = 0xa0
	SubscriptionIDsNotKnown     ReasonCode = 0xa1
	WildcardsNotKnown           ReasonCode = 0xa2
)

// Error says that a packet breaks the protocol. It ends the connection. [MQTT-4.8.0-1]
type Error struct {
	Code ReasonCode
	Text string // a clause, fit for a peer
}

func (e *Error) Error() string { return e.Text }

func errorf(code ReasonCode, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func malformed(text string) *Error { return &Error{Code: MalformedPacket, Text: text} }
