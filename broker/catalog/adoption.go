package catalog

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// differences are the fields in which an object would change; before is nil when it is not there. Of passwords it says that
// another is set, and no more.
func differences(before *object.Object, wanted object.Object) []object.Difference {
	var was object.Object
	if before != nil {
		was = *before
	}
	out, err := object.Differences(was, wanted)
	if err != nil {
		panic(fmt.Sprintf("catalogue holds what it would refuse: %v", err))
	}
	if wanted.Kind == object.KindUser && before != nil && stored[object.UserSpec](before).PasswordHash != stored[object.UserSpec](&wanted).PasswordHash {
		out = append(out, object.Difference{Field: "password", Old: `"(one)"`, New: `"(another)"`})
	}
	return out
}

// explained are the differences, for those who want to hear of them.
func (d *draft) explained(before *object.Object, wanted object.Object) []object.Difference {
	if !d.explain {
		return nil
	}
	return differences(before, wanted)
}

// pristine says that an object is the default virtual host as a new broker has it: whoever comes first may say what it is
// like.
func pristine(o *object.Object) bool {
	return o.Kind == object.KindVirtualHost && o.Name == object.DefaultVirtualHost && string(o.Spec) == "{}"
}

// differs answers who would take over what nobody owns and is not as wished.
func differs(before *object.Object, differ []object.Difference) object.Result {
	message := fmt.Sprintf("%s is there, nobody owns it, and it is not as wished: %s", before.Key, differ[0])
	if more := len(differ) - 1; more > 0 {
		message += fmt.Sprintf(" (and %d fields more)", more)
	}
	return object.Result{
		Key: before.Key, Outcome: object.Conflict, Reason: object.ReasonDiffers, Revision: before.Revision, Differences: differ,
		Message: message + ": write what it is, or ask to adopt it",
	}
}
