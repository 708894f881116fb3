package frame

import "fmt"

// Descriptor is the number that names the type of a described value. The domain of the specification is zero, so that its
// descriptors are small; those of others have their domain in the upper 32 bits. 1 §1.5
type Descriptor uint64

// The descriptors of the specification.
const (
	CodeOpen                      Descriptor = 0x10
	CodeBegin                     Descriptor = 0x11
	CodeAttach                    Descriptor = 0x12
	CodeFlow                      Descriptor = 0x13
	CodeTransfer                  Descriptor = 0x14
	CodeDisposition               Descriptor = 0x15
	CodeDetach                    Descriptor = 0x16
	CodeEnd                       Descriptor = 0x17
	CodeClose                     Descriptor = 0x18
	CodeError                     Descriptor = 0x1d
	CodeReceived                  Descriptor = 0x23
	CodeAccepted                  Descriptor = 0x24
	CodeRejected                  Descriptor = 0x25
	CodeReleased                  Descriptor = 0x26
	CodeModified                  Descriptor = 0x27
	CodeSource                    Descriptor = 0x28
	CodeTarget                    Descriptor = 0x29
	CodeDeleteOnClose             Descriptor = 0x2b
	CodeDeleteOnNoLinks           Descriptor = 0x2c
	CodeDeleteOnNoMessages        Descriptor = 0x2d
	CodeDeleteOnNoLinksOrMessages Descriptor = 0x2e
	CodeCoordinator               Descriptor = 0x30
	CodeDeclare                   Descriptor = 0x31
	CodeDischarge                 Descriptor = 0x32
	CodeDeclared                  Descriptor = 0x33
	CodeTransactionalState        Descriptor = 0x34
	CodeSASLMechanisms            Descriptor = 0x40
	CodeSASLInit                  Descriptor = 0x41
	CodeSASLChallenge             Descriptor = 0x42
	CodeSASLResponse              Descriptor = 0x43
	CodeSASLOutcome               Descriptor = 0x44
	CodeHeader                    Descriptor = 0x70
	CodeDeliveryAnnotations       Descriptor = 0x71
	CodeMessageAnnotations        Descriptor = 0x72
	CodeProperties                Descriptor = 0x73
	CodeApplicationProperties     Descriptor = 0x74
	CodeData                      Descriptor = 0x75
	CodeSequence                  Descriptor = 0x76
	CodeValue                     Descriptor = 0x77
	CodeFooter                    Descriptor = 0x78
)

// symbols are the other names of the descriptors, which a peer may use instead. 1 §1.5
var symbols = map[string]Descriptor{
	"amqp:open:list":                           CodeOpen,
	"amqp:begin:list":                          CodeBegin,
	"amqp:attach:list":                         CodeAttach,
	"amqp:flow:list":                           CodeFlow,
	"amqp:transfer:list":                       CodeTransfer,
	"amqp:disposition:list":                    CodeDisposition,
	"amqp:detach:list":                         CodeDetach,
	"amqp:end:list":                            CodeEnd,
	"amqp:close:list":                          CodeClose,
	"amqp:error:list":                          CodeError,
	"amqp:received:list":                       CodeReceived,
	"amqp:accepted:list":                       CodeAccepted,
	"amqp:rejected:list":                       CodeRejected,
	"amqp:released:list":                       CodeReleased,
	"amqp:modified:list":                       CodeModified,
	"amqp:source:list":                         CodeSource,
	"amqp:target:list":                         CodeTarget,
	"amqp:delete-on-close:list":                CodeDeleteOnClose,
	"amqp:delete-on-no-links:list":             CodeDeleteOnNoLinks,
	"amqp:delete-on-no-messages:list":          CodeDeleteOnNoMessages,
	"amqp:delete-on-no-links-or-messages:list": CodeDeleteOnNoLinksOrMessages,
	"amqp:coordinator:list":                    CodeCoordinator,
	"amqp:declare:list":                        CodeDeclare,
	"amqp:discharge:list":                      CodeDischarge,
	"amqp:declared:list":                       CodeDeclared,
	"amqp:transactional-state:list":            CodeTransactionalState,
	"amqp:sasl-mechanisms:list":                CodeSASLMechanisms,
	"amqp:sasl-init:list":                      CodeSASLInit,
	"amqp:sasl-challenge:list":                 CodeSASLChallenge,
	"amqp:sasl-response:list":                  CodeSASLResponse,
	"amqp:sasl-outcome:list":                   CodeSASLOutcome,
	"amqp:header:list":                         CodeHeader,
	"amqp:delivery-annotations:map":            CodeDeliveryAnnotations,
	"amqp:message-annotations:map":             CodeMessageAnnotations,
	"amqp:properties:list":                     CodeProperties,
	"amqp:application-properties:map":          CodeApplicationProperties,
	"amqp:data:binary":                         CodeData,
	"amqp:amqp-sequence:list":                  CodeSequence,
	"amqp:amqp-value:*":                        CodeValue,
	"amqp:footer:map":                          CodeFooter,
}

var names = map[Descriptor]string{
	CodeOpen: "open", CodeBegin: "begin", CodeAttach: "attach", CodeFlow: "flow", CodeTransfer: "transfer",
	CodeDisposition: "disposition", CodeDetach: "detach", CodeEnd: "end", CodeClose: "close", CodeError: "error",
	CodeReceived: "received", CodeAccepted: "accepted", CodeRejected: "rejected", CodeReleased: "released",
	CodeModified: "modified", CodeSource: "source", CodeTarget: "target", CodeDeleteOnClose: "delete-on-close",
	CodeDeleteOnNoLinks: "delete-on-no-links", CodeDeleteOnNoMessages: "delete-on-no-messages",
	CodeDeleteOnNoLinksOrMessages: "delete-on-no-links-or-messages", CodeCoordinator: "coordinator", CodeDeclare: "declare",
	CodeDischarge: "discharge", CodeDeclared: "declared", CodeTransactionalState: "transactional-state",
	CodeSASLMechanisms: "sasl-mechanisms", CodeSASLInit: "sasl-init", CodeSASLChallenge: "sasl-challenge",
	CodeSASLResponse: "sasl-response", CodeSASLOutcome: "sasl-outcome", CodeHeader: "header",
	CodeDeliveryAnnotations: "delivery-annotations", CodeMessageAnnotations: "message-annotations",
	CodeProperties: "properties", CodeApplicationProperties: "application-properties", CodeData: "data",
	CodeSequence: "amqp-sequence", CodeValue: "amqp-value", CodeFooter: "footer",
}

// String is the name in the specification.
func (d Descriptor) String() string {
	if n, ok := names[d]; ok {
		return n
	}
	return fmt.Sprintf("type %#x", uint64(d))
}

// frameType is the type of the frames that carry a performative.
func (d Descriptor) frameType() Type {
	if d >= CodeSASLMechanisms && d <= CodeSASLOutcome {
		return TypeSASL
	}
	return TypeAMQP
}

// scope is what has to end when the value of a type is malformed.
func (d Descriptor) scope() Scope {
	switch {
	case d >= CodeAttach && d <= CodeDetach:
		return ScopeSession
	case d >= CodeHeader && d <= CodeFooter, d == CodeDeclare, d == CodeDischarge:
		return ScopeLink // they come in messages
	}
	return ScopeConnection
}
