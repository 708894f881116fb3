package topology

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// CredentialsSecret names the Secret that says how to connect as a user: its binding.
func CredentialsSecret(user string) string { return user + "-user-credentials" }

// What the binding says of itself beside the specification.
const (
	// annotationSource is the version of the user's own Secret whose password the binding has.
	annotationSource = "messaging.turnstone.dev/password-source"
	// annotationRevision is the spec.passwordRevision whose password the binding has.
	annotationRevision = "messaging.turnstone.dev/password-revision"
	// keyNext is a password that the broker may have already and that clients are told of next.
	keyNext = "nextPassword"
)

// secret is what a user has to have in the broker, and what its binding has to say.
type secret struct {
	password, hash string
	// version tells contents apart without telling them.
	version string
	// source is as annotationSource says, empty for passwords that are made.
	source string
}

// given says that there is a password or a hash of one.
func (s secret) given() bool { return s.password != "" || s.hash != "" }

// same says that two secrets let the same people in.
func (s secret) same(o secret) bool { return s.password == o.password && s.hash == o.hash }

// passwords reads, or makes, the password of every user. One whose Secret is missing waits for it.
func (r *Reconciler) passwords(ctx context.Context, s *scope) {
	if s.broker == nil {
		return
	}
	for _, e := range s.entries {
		u, ok := e.object.(*v1alpha1.User)
		if !ok || e.decided && e.follows == nil || e.deleting || e.failed != nil {
			continue
		}
		e.failed = r.password(ctx, s, e, u)
	}
}

// password finds out what a user has to have. Its binding is made before the broker is asked, and changed after.
func (r *Reconciler) password(ctx context.Context, s *scope, e *entry, u *v1alpha1.User) error {
	had, err := r.binding(ctx, u)
	if err != nil || had != nil && !belongs(had, u) {
		return e.foreignBinding(u, err)
	}
	switch {
	case u.Spec.PasswordHashSecretRef != nil:
		ref := u.Spec.PasswordHashSecretRef
		e.secret.hash, err = r.givenSecret(ctx, s, e, ref.Name, ref.Key)
	case u.Spec.PasswordSecretRef != nil:
		err = r.givenPassword(ctx, s, e, u, had)
	default:
		err = r.madePassword(ctx, s, e, u, had)
	}
	if err != nil || e.decided || e.planned || had != nil {
		return err
	}
	return r.makeBinding(ctx, s, e, u)
}

func (e *entry) foreignBinding(u *v1alpha1.User, err error) error {
	if err == nil {
		e.decide(condition.Stuck(condition.SecretNotFound, fmt.Sprintf("Secret %q exists and is not the operator's: delete it, or give the User another name", CredentialsSecret(u.Name))))
	}
	return err
}

// belongs says whether a binding is that of a user, or of one of the same name of before, whose binding is taken over
// before the garbage collector comes.
func belongs(b *corev1.Secret, u *v1alpha1.User) bool {
	owner := metav1.GetControllerOf(b)
	return owner != nil && owner.Kind == "User" && owner.Name == u.Name
}

// binding reads the Secret of a user; nil if there is none.
func (r *Reconciler) binding(ctx context.Context, u *v1alpha1.User) (*corev1.Secret, error) {
	b := &corev1.Secret{}
	err := r.Get(ctx, types.NamespacedName{Namespace: u.Namespace, Name: CredentialsSecret(u.Name)}, b)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get binding of User %s/%s: %w", u.Namespace, u.Name, err)
	}
	return b, nil
}

// givenSecret reads a key of a Secret that a user brought; empty if it has to be waited for.
func (r *Reconciler) givenSecret(ctx context.Context, s *scope, e *entry, name, key string) (string, error) {
	given := &corev1.Secret{}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: e.object.GetNamespace(), Name: name}, given)
	switch {
	case apierrors.IsNotFound(err):
		e.decide(condition.Waiting(condition.SecretNotFound, fmt.Sprintf("Secret %q does not exist in namespace %q", name, e.object.GetNamespace())))
	case err != nil:
		return "", fmt.Errorf("get Secret %s of User %s: %w", name, e.ref(), err)
	case len(given.Data[key]) == 0:
		e.decide(condition.Waiting(condition.SecretNotFound, fmt.Sprintf("Secret %q has no key %q, or it is empty", name, key)))
	default:
		e.secret.source = fmt.Sprintf("%s/%s", given.UID, given.ResourceVersion)
		e.secret.version = e.secret.source
		return string(given.Data[key]), nil
	}
	return "", nil
}

// givenPassword takes the password from the binding as long as that has the one of the present Secret.
func (r *Reconciler) givenPassword(ctx context.Context, s *scope, e *entry, u *v1alpha1.User, had *corev1.Secret) (err error) {
	ref := u.Spec.PasswordSecretRef
	present, err := r.options.Foreign.Version(ctx, types.NamespacedName{Namespace: u.Namespace, Name: ref.Name})
	if err != nil {
		return err
	}
	if had != nil && present != "" && had.Annotations[annotationSource] == present+"/"+ref.Key {
		password := string(had.Data[resource.KeyPassword])
		e.secret = secret{password: password, version: present, source: present + "/" + ref.Key}
		if wanted, err := r.bindingOf(ctx, s, e, u); err == nil && sameContent(wanted, had) {
			return nil
		}
		e.secret = secret{}
	}
	e.secret.password, err = r.givenSecret(ctx, s, e, ref.Name, ref.Key)
	e.secret.source += "/" + ref.Key
	return err
}

// madePassword takes the password that is in the binding. Another revision makes another one, which lies beside the present
// one until the broker has it: whatever ends the operator in between, it is the same one that it goes on with.
func (r *Reconciler) madePassword(ctx context.Context, s *scope, e *entry, u *v1alpha1.User, had *corev1.Secret) error {
	if e.planned && had == nil {
		return nil // one would be made
	}
	e.secret.password = rand.Text()
	if had != nil {
		e.secret.password = string(had.Data[resource.KeyPassword])
	}
	if had != nil && (e.secret.password == "" || had.Annotations[annotationRevision] != revisionText(u)) {
		next := string(had.Data[keyNext])
		if next == "" {
			next = rand.Text()
			if e.planned {
				e.secret.password, e.secret.version = next, "planned"
				return nil
			}
			if err := r.patchBinding(ctx, u, had, func(b *corev1.Secret) { b.Data[keyNext] = []byte(next) }); err != nil {
				return err
			}
		}
		e.secret.password = next
	}
	mac, err := r.mac(ctx, s, e.secret.password)
	if err == nil {
		e.secret.version = mac
		return nil
	}
	return r.newBroker(e, err)
}

// revisionText is spec.passwordRevision as the annotation has it: no annotation is the first one.
func revisionText(u *v1alpha1.User) string {
	if u.Spec.PasswordRevision == 0 {
		return ""
	}
	return strconv.Itoa(int(u.Spec.PasswordRevision))
}

// mac stands for a password that is made: a code under a key that only the operator and the broker know, so that nobody
// who reads a status can try passwords on it.
func (r *Reconciler) mac(ctx context.Context, s *scope, password string) (string, error) {
	from, err := r.waysIn(ctx, s)
	if err != nil {
		return "", err
	}
	var key []byte
	for _, name := range []string{connection.KeyPassword, connection.KeyToken, corev1.TLSPrivateKeyKey} { // an external broker has one
		key = append(key, from.Data[name]...)
	}
	m := hmac.New(sha256.New, key)
	m.Write([]byte(password))
	const bytes = 8
	return hex.EncodeToString(m.Sum(nil)[:bytes]), nil
}

// waysIn is the Secret that says how the operator reaches the broker: its administrator's, or the connection Secret.
func (r *Reconciler) waysIn(ctx context.Context, s *scope) (*corev1.Secret, error) {
	from, reader, name := &corev1.Secret{}, client.Reader(r), resource.AdminSecret(s.broker.Name)
	secret, external := connection.SecretOf(s.broker.Name)
	if external {
		reader, name = r.live, secret
	}
	err := reader.Get(ctx, types.NamespacedName{Namespace: s.broker.Namespace, Name: name}, from)
	if external && apierrors.IsNotFound(err) {
		return nil, connection.NoSecret(s.broker.Namespace, name)
	}
	if err != nil {
		return nil, fmt.Errorf("the way to the broker: %w", err)
	}
	return from, nil
}

// newBroker waits for a broker that is so new that it has no Secrets yet, or whose connection Secret is gone.
func (r *Reconciler) newBroker(e *entry, err error) error {
	var gone *connection.SecretError
	if errors.As(err, &gone) {
		e.unreached = true
		e.decide(condition.Waiting(refusal(err), gone.Text))
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("credentials of User %s: %w", e.ref(), err)
	}
	e.decide(condition.Waiting(condition.BrokerUnavailable, err.Error()))
	return nil
}

// bindingOf is what the binding of a user has to be.
func (r *Reconciler) bindingOf(ctx context.Context, s *scope, e *entry, u *v1alpha1.User) (*corev1.Secret, error) {
	from, err := r.waysIn(ctx, s)
	if err != nil {
		return nil, err
	}
	var b *corev1.Secret
	if _, external := connection.SecretOf(s.broker.Name); external {
		b = resource.ExternalCredentialSecret(CredentialsSecret(u.Name), u.NameInBroker(), e.secret.password, from)
	} else {
		b = resource.CredentialSecret(client.ObjectKeyFromObject(s.broker), CredentialsSecret(u.Name), u.NameInBroker(), e.secret.password, from.Data[resource.KeyCA])
	}
	b.Namespace = u.Namespace // which may be another than the broker's
	b.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "User", Name: u.Name, UID: u.UID, Controller: new(true),
	}}
	b.Annotations = map[string]string{}
	for key, value := range map[string]string{annotationSource: e.secret.source, annotationRevision: revisionText(u)} {
		if value != "" {
			b.Annotations[key] = value
		}
	}
	return b, nil
}

// makeBinding makes the Secret of a user who has none: nobody was told another password.
func (r *Reconciler) makeBinding(ctx context.Context, s *scope, e *entry, u *v1alpha1.User) error {
	wanted, err := r.bindingOf(ctx, s, e, u)
	if err != nil {
		return r.newBroker(e, err)
	}
	err = r.Create(ctx, wanted)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	there := &corev1.Secret{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(wanted), there); err != nil {
		return fmt.Errorf("get binding of User %s: %w", e.ref(), err)
	}
	if belongs(there, u) { // made a moment ago: the next look sees it
		e.decide(condition.Waiting(condition.Pending, "its binding was just made"))
		return nil
	}
	return e.foreignBinding(u, nil)
}

// bind brings the bindings of users up to date who are in the broker as they should be.
func (r *Reconciler) bind(ctx context.Context, s *scope) {
	if s.broker == nil {
		return
	}
	r.each(ctx, s, func(ctx context.Context, e *entry) error {
		u, ok := e.object.(*v1alpha1.User)
		if !ok || !e.state.Ready || e.deleting || e.planned {
			return nil
		}
		had, err := r.binding(ctx, u)
		if err != nil || had == nil { // the cache is behind: the next look sees it
			return err
		}
		wanted, err := r.bindingOf(ctx, s, e, u)
		if gone := (*connection.SecretError)(nil); errors.As(err, &gone) {
			return nil // it comes with the Secret
		}
		if err != nil {
			return client.IgnoreNotFound(err)
		}
		done := len(had.Data[keyNext]) == 0 && wanted.Annotations[annotationRevision] == had.Annotations[annotationRevision]
		if done && sameContent(wanted, had) && metav1.IsControlledBy(had, u) {
			return nil
		}
		return r.patchBinding(ctx, u, had, func(b *corev1.Secret) {
			b.Data, b.OwnerReferences = wanted.Data, wanted.OwnerReferences
			if b.Annotations == nil {
				b.Annotations = map[string]string{}
			}
			for _, key := range []string{annotationSource, annotationRevision} {
				delete(b.Annotations, key)
			}
			maps.Copy(b.Annotations, wanted.Annotations)
		})
	})
}

// sameContent says whether a binding has what it should have, and has it from where it should.
func sameContent(wanted, had *corev1.Secret) bool {
	data := maps.Clone(had.Data)
	delete(data, keyNext)
	return maps.EqualFunc(wanted.Data, data, bytes.Equal) && wanted.Annotations[annotationSource] == had.Annotations[annotationSource]
}

// patchBinding changes a binding, unless somebody else did meanwhile.
func (r *Reconciler) patchBinding(ctx context.Context, u *v1alpha1.User, had *corev1.Secret, change func(*corev1.Secret)) error {
	b := had.DeepCopy()
	if b.Data == nil {
		b.Data = map[string][]byte{}
	}
	change(b)
	if err := r.Patch(ctx, b, client.MergeFromWithOptions(had, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("binding of User %s/%s: %w", u.Namespace, u.Name, err)
	}
	return nil
}

// withPassword is the spec of a user with what digests know nothing of.
func (e *entry) withPassword() (json.RawMessage, error) {
	spec, err := object.Decode[object.UserSpec](e.wanted)
	if err != nil {
		return nil, err
	}
	spec.Password, spec.PasswordHash = e.secret.password, e.secret.hash
	if o := e.object.(*v1alpha1.User).Spec.RotationOverlap; o != nil {
		spec.OverlapSeconds = int64(o.Duration / time.Second)
	}
	return json.Marshal(spec)
}

// secretsOf are the Secrets that a user reads, and its binding.
func secretsOf(o v1alpha1.Topology) (names []string) {
	u, ok := o.(*v1alpha1.User)
	if !ok {
		return nil
	}
	names = append(names, CredentialsSecret(u.Name))
	if ref := u.Spec.PasswordSecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	if ref := u.Spec.PasswordHashSecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	return names
}

// secretChanged makes dirty what depends on a Secret: users who read it or whose binding it is, and brokers that are reached
// by it.
func (r *Reconciler) secretChanged() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	changed := func(o client.Object) {
		instance := o.GetLabels()[resource.LabelInstance]
		switch o.GetName() {
		case resource.AdminSecret(instance), connection.AuthoritySecret(instance), resource.ServerSecret(instance):
		default:
			instance = "" // a binding is its user's matter alone
		}
		r.index.secretChanged(o.GetNamespace(), o.GetName(), instance)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) { changed(e.Object) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { changed(e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				changed(e.ObjectNew)
			}
		},
	}
}
