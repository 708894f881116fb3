package amqp10

func (l *incoming) answer(uint32, bool)   {}
func (l *outgoing) consumeAnswers() error { return nil }
