package frame

// Properties are those of the bare message. 3 §3.2.4 All that is not a number aliases what was decoded; nil and null are
// absent.
type Properties struct {
	MessageID          Value // ulong, uuid, binary or string
	UserID             []byte
	To                 []byte
	Subject            []byte
	ReplyTo            []byte
	CorrelationID      Value           // ulong, uuid, binary or string
	ContentType        []byte          // a symbol
	ContentEncoding    []byte          // a symbol
	AbsoluteExpiryTime Optional[int64] // milliseconds since 1970
	CreationTime       Optional[int64] // milliseconds since 1970
	GroupID            []byte
	GroupSequence      Optional[uint32]
	ReplyToGroupID     []byte
}

// Decode reads a section. The error is a *Fault.
func (p *Properties) Decode(s Section) error {
	var f fields
	rest := f.open(s, CodeProperties, unlimited)
	p.decode(&f)
	return f.last(rest)
}

func (p *Properties) decode(f *fields) {
	p.MessageID = f.messageID("message-id")
	p.UserID = f.binary("user-id")
	p.To = f.str("to")
	p.Subject = f.str("subject")
	p.ReplyTo = f.str("reply-to")
	p.CorrelationID = f.messageID("correlation-id")
	p.ContentType = f.symbol("content-type")
	p.ContentEncoding = f.symbol("content-encoding")
	p.AbsoluteExpiryTime = f.optTimestamp("absolute-expiry-time")
	p.CreationTime = f.optTimestamp("creation-time")
	p.GroupID = f.str("group-id")
	p.GroupSequence = f.optUint("group-sequence")
	p.ReplyToGroupID = f.str("reply-to-group-id")
}

// messageID reads one of the types that identify a message; null when absent. 3 §3.2.11 to 3 §3.2.14
func (f *fields) messageID(name string) Value {
	if !f.next() {
		return Value{}
	}
	if len(f.src) > 0 {
		switch kinds[f.src[0]] {
		case KindUlong, KindUUID, KindBinary, KindString:
		default:
			f.fail(DecodeError, "%s of %s is no ulong, uuid, binary or string, but encoded as %#02x", name, f.of, f.src[0])
		}
	}
	return f.value()
}

// Append writes the section.
func (p *Properties) Append(dst []byte) []byte {
	w := begin(dst, CodeProperties)
	w.any(p.MessageID)
	w.binary(p.UserID)
	w.str(p.To)
	w.str(p.Subject)
	w.str(p.ReplyTo)
	w.any(p.CorrelationID)
	w.symbol(p.ContentType)
	w.symbol(p.ContentEncoding)
	w.optTimestamp(p.AbsoluteExpiryTime)
	w.optTimestamp(p.CreationTime)
	w.str(p.GroupID)
	w.optUint(p.GroupSequence)
	w.str(p.ReplyToGroupID)
	return w.done()
}
