package hub

import (
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"golang.org/x/time/rate"
)

// pace holds a publisher to the rates of the topic policies that its messages fall under.
type pace struct {
	messages, bytes *rate.Limiter
	due             time.Duration // how long the batch has to wait
}

// count takes a message of n bytes into account.
func (p *pace) count(l *auth.PublishLimits, n int) {
	if l.MaxMessagesPerSecond > 0 {
		p.due = max(p.due, spend(&p.messages, l.MaxMessagesPerSecond, 1))
	}
	if l.MaxBytesPerSecond > 0 {
		p.due = max(p.due, spend(&p.bytes, l.MaxBytesPerSecond, n))
	}
}

func spend(l **rate.Limiter, perSecond float64, n int) time.Duration {
	burst := max(int(perSecond), n, 1) // one second's worth at once
	if *l == nil {
		*l = rate.NewLimiter(rate.Limit(perSecond), burst)
	}
	if (*l).Limit() != rate.Limit(perSecond) {
		(*l).SetLimit(rate.Limit(perSecond))
	}
	if (*l).Burst() < burst {
		(*l).SetBurst(burst)
	}
	return (*l).ReserveN(time.Now(), n).Delay()
}

// wait holds the publisher back, at most until the hub stops or the connection ends.
func (p *pace) wait(stop, ended <-chan struct{}) {
	if p.due == 0 {
		return
	}
	t := time.NewTimer(p.due)
	p.due = 0
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
	case <-ended:
	}
}
