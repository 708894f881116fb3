package object

import (
	"strconv"
	"strings"
)

// TopicRewrite gives topics another name. To is a topic name, some of whose levels are placeholders: {1} is what the
// first + of the policy's filter stands for, {2} the second, and so on; {#} is what # stands for, which may be no level
// or several. %u stands for the user's name and %c for the client id, as in filters.
type TopicRewrite struct {
	To string `json:"to"`
	// Publish renames what clients publish to, Subscribe the filters that they subscribe with.
	Publish   bool `json:"publish,omitempty"`
	Subscribe bool `json:"subscribe,omitempty"`
}

// RewriteRest is the placeholder of what # stands for.
const RewriteRest = "{#}"

// RewritePlaceholder reads a level of TopicRewrite.To: which + it stands for, from 1; zero when it is no such placeholder.
func RewritePlaceholder(level string) (plus int) {
	digits, ok := strings.CutPrefix(level, "{")
	if digits, ok2 := strings.CutSuffix(digits, "}"); ok && ok2 {
		plus, err := strconv.ParseUint(digits, 10, 16)
		if err == nil && digits == strconv.FormatUint(plus, 10) {
			return int(plus)
		}
	}
	return 0
}

// AutoSubscription is a subscription that clients get when they connect, as if they asked for it. Filter may have %u and
// %c, and the beginnings $share/NAME/, $exclusive/ and $queue/.
type AutoSubscription struct {
	Filter            string `json:"filter"`
	QoS               uint8  `json:"qos,omitempty"`
	NoLocal           bool   `json:"noLocal,omitempty"`
	RetainAsPublished bool   `json:"retainAsPublished,omitempty"`
	// RetainHandling is 0, retained messages at each subscribing; 1, only with a new one; 2, none.
	RetainHandling uint8 `json:"retainHandling,omitempty"`
}
