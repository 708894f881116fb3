package packet

// reasonPlaces are the packets that may carry a reason code. [MQTT 5 §2.4]
var reasonPlaces = [...]places{
	Success:                     in(TypeConnack, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeSuback, TypeUnsuback, TypeDisconnect, TypeAuth),
	GrantedQoS1:                 in(TypeSuback),
	GrantedQoS2:                 in(TypeSuback),
	DisconnectWithWill:          in(TypeDisconnect),
	NoMatchingSubscribers:       in(TypePuback, TypePubrec),
	NoSubscriptionExisted:       in(TypeUnsuback),
	ContinueAuthentication:      in(TypeAuth),
	Reauthenticate:              in(TypeAuth),
	Failure:                     in(TypeConnack, TypePuback, TypePubrec, TypeSuback, TypeUnsuback, TypeDisconnect),
	MalformedPacket:             in(TypeConnack, TypeDisconnect),
	ProtocolError:               in(TypeConnack, TypeDisconnect),
	ImplementationError:         in(TypeConnack, TypePuback, TypePubrec, TypeSuback, TypeUnsuback, TypeDisconnect),
	UnsupportedVersion:          in(TypeConnack),
	ClientIDNotValid:            in(TypeConnack),
	BadUserNameOrPassword:       in(TypeConnack),
	NotAuthorized:               in(TypeConnack, TypePuback, TypePubrec, TypeSuback, TypeUnsuback, TypeDisconnect),
	ServerUnavailable:           in(TypeConnack),
	ServerBusy:                  in(TypeConnack, TypeDisconnect),
	Banned:                      in(TypeConnack),
	ServerShuttingDown:          in(TypeDisconnect),
	BadAuthenticationMethod:     in(TypeConnack, TypeDisconnect),
	KeepAliveTimeout:            in(TypeDisconnect),
	SessionTakenOver:            in(TypeDisconnect),
	TopicFilterInvalid:          in(TypeSuback, TypeUnsuback, TypeDisconnect),
	TopicNameInvalid:            in(TypeConnack, TypePuback, TypePubrec, TypeDisconnect),
	PacketIDInUse:               in(TypePuback, TypePubrec, TypeSuback, TypeUnsuback),
	PacketIDNotFound:            in(TypePubrel, TypePubcomp),
	ReceiveMaximumExceeded:      in(TypeDisconnect),
	TopicAliasInvalid:           in(TypeDisconnect),
	PacketTooLarge:              in(TypeConnack, TypeDisconnect),
	MessageRateTooHigh:          in(TypeDisconnect),
	QuotaExceeded:               in(TypeConnack, TypePuback, TypePubrec, TypeSuback, TypeDisconnect),
	AdministrativeAction:        in(TypeDisconnect),
	PayloadFormatInvalid:        in(TypeConnack, TypePuback, TypePubrec, TypeDisconnect),
	RetainNotSupported:          in(TypeConnack, TypeDisconnect),
	QoSNotSupported:             in(TypeConnack, TypeDisconnect),
	UseAnotherServer:            in(TypeConnack, TypeDisconnect),
	ServerMoved:                 in(TypeConnack, TypeDisconnect),
	SharedSubscriptionsNotKnown: in(TypeSuback, TypeDisconnect),
	ConnectionRateExceeded:      in(TypeConnack, TypeDisconnect),
	MaximumConnectTime:          in(TypeDisconnect),
	SubscriptionIDsNotKnown:     in(TypeSuback, TypeDisconnect),
	WildcardsNotKnown:           in(TypeSuback, TypeDisconnect),
}

// Knows says whether packets of a type may carry a reason code in version 5.
func (t Type) Knows(r ReasonCode) bool {
	return int(r) < len(reasonPlaces) && reasonPlaces[r]&(1<<t) != 0
}

// reason reads the reason code of a packet of version 5.
func (c *cursor) reason(t Type) ReasonCode {
	r := ReasonCode(c.octet())
	if c.err == nil && !t.Knows(r) {
		c.fail(ProtocolError, "reason code is not one of this packet")
	}
	return r
}
