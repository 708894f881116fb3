package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// delayedTopics begin the topics of messages that are to wait: $delayed/SECONDS/TOPIC.
const delayedTopics = "$delayed/"

// longestDelay is in seconds: what 32 bits of milliseconds hold.
const longestDelay = 4294967

// cutDelay answers for how long a message to a topic is to wait, and the topic that it then goes to.
func cutDelay(name []byte) (wait time.Duration, topic []byte, err error) {
	if len(name) == 0 || name[0] != '$' || !bytes.HasPrefix(name, []byte(delayedTopics)) {
		return 0, name, nil
	}
	digits, topic, _ := bytes.Cut(name[len(delayedTopics):], []byte("/"))
	seconds, err := strconv.ParseUint(string(digits), 10, 32)
	switch {
	case err != nil || seconds > longestDelay:
		err = fmt.Errorf("a delay is %s, SECONDS, / and a topic, where SECONDS are from 0 to %d", delayedTopics, longestDelay)
	case len(topic) == 0:
		err = fmt.Errorf("there is no topic after %s%s/", delayedTopics, digits)
	case bytes.HasPrefix(topic, []byte(delayedTopics)):
		err = errors.New("a delay cannot be delayed")
	default:
		return time.Duration(seconds) * time.Second, topic, nil
	}
	return 0, name, &packet.Error{Code: packet.TopicNameInvalid, Text: err.Error()}
}
