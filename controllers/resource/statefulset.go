package resource

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/config"
)

// AnnotationConfig rolls the pod when a key changes that needs a restart, and only then.
const AnnotationConfig = "messaging.turnstone.dev/config"

const (
	container = "broker"
	claim     = "data"
	// nobody is the user of the image.
	nobody = int64(65532)
	// The endpoints of the Services forget a pod in this time, before it hears of its end.
	preStopSeconds = 3
	// On top of the drain: to close the journal.
	closeSeconds = 15
)

// StatefulSet runs the broker. It is an error when spec.podTemplate asks for what is refused.
func StatefulSet(b *v1alpha1.MessageBroker, image string, c config.Config) (*appsv1.StatefulSet, error) {
	s := &appsv1.StatefulSet{TypeMeta: typeMeta("apps/v1", "StatefulSet"), ObjectMeta: meta(b, b.Name)}
	retention := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if b.Spec.Storage.DeletionPolicy == v1alpha1.DeletionDelete {
		retention = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	s.Spec = appsv1.StatefulSetSpec{
		Replicas:            b.Spec.Replicas,
		ServiceName:         NodesService(b.Name),
		PodManagementPolicy: appsv1.ParallelPodManagement,
		Selector:            &metav1.LabelSelector{MatchLabels: Selector(b.Name)},
		PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: retention, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
		},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: Labels(b.Name), Annotations: map[string]string{AnnotationConfig: c.Hash()}},
			Spec:       pod(b, image, c),
		},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{volumeClaim(b)},
	}
	if b.Spec.PodTemplate == nil {
		return s, nil
	}
	var err error
	s.Spec.Template, err = patchTemplate(s.Spec.Template, b.Spec.PodTemplate.Raw)
	return s, err
}

// Claim names the volume claim of a broker's pod.
func Claim(broker string, ordinal int) string { return fmt.Sprintf("%s-%s-%d", claim, broker, ordinal) }

func volumeClaim(b *v1alpha1.MessageBroker) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim, Labels: Labels(b.Name)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: b.Spec.Storage.StorageClassName,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: b.Spec.Storage.Size}},
		},
	}
}

func pod(b *v1alpha1.MessageBroker, image string, c config.Config) corev1.PodSpec {
	p := corev1.PodSpec{
		ServiceAccountName:            b.Name,
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(preStopSeconds + c.DrainSeconds + closeSeconds)),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(nobody), RunAsGroup: new(nobody), FSGroup: new(nobody),
			FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		NodeSelector:              b.Spec.NodeSelector,
		Tolerations:               b.Spec.Tolerations,
		PriorityClassName:         b.Spec.PriorityClassName,
		Affinity:                  b.Spec.Affinity,
		TopologySpreadConstraints: b.Spec.TopologySpreadConstraints,
		Containers:                []corev1.Container{brokerContainer(b, image)},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: b.Name}}}},
			secretVolume("tls", ServerSecret(b.Name), tlsKeys(c)...),
			secretVolume("admin", AdminSecret(b.Name), KeyPassword),
			secretVolume("default-user", DefaultUserSecret(b.Name), KeyPassword),
		},
	}
	for _, s := range b.Spec.ImagePullSecrets {
		p.ImagePullSecrets = append(p.ImagePullSecrets, corev1.LocalObjectReference{Name: s.Name})
	}
	return p
}

// tlsKeys are the keys of the server certificate's Secret that the broker reads.
func tlsKeys(c config.Config) []string {
	keys := []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}
	if c.TLS.ClientCAFile != "" {
		keys = append(keys, KeyClientCA)
	}
	if c.TLS.CRLFile != "" {
		keys = append(keys, KeyClientCRL)
	}
	return keys
}

func secretVolume(volume, secret string, keys ...string) corev1.Volume {
	source := &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: new(int32(0o440))}
	for _, k := range keys {
		source.Items = append(source.Items, corev1.KeyToPath{Key: k, Path: k})
	}
	return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Secret: source}}
}

func brokerContainer(b *v1alpha1.MessageBroker, image string) corev1.Container {
	c := corev1.Container{
		Name: container, Image: image, ImagePullPolicy: b.Spec.ImagePullPolicy,
		Args:      []string{"serve", "--config", configDir + "/" + ConfigFile},
		Resources: resources(b.Spec.Resources),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: preStopSeconds}}},
		// Recovery of a large journal takes its time; the admin listener is up before it.
		StartupProbe:   probe("/healthz", 2, 60),
		LivenessProbe:  probe("/healthz", 10, 6),
		ReadinessProbe: probe("/readyz", 2, 2),
		VolumeMounts: []corev1.VolumeMount{
			{Name: claim, MountPath: volumeDir},
			{Name: "config", MountPath: configDir, ReadOnly: true},
			{Name: "tls", MountPath: tlsDir, ReadOnly: true},
			{Name: "admin", MountPath: adminDir, ReadOnly: true},
			{Name: "default-user", MountPath: defaultUserDir, ReadOnly: true},
		},
	}
	for _, p := range portsOf(b) {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: p.name, ContainerPort: p.number, Protocol: corev1.ProtocolTCP})
	}
	return c
}

func resources(r *v1alpha1.Resources) corev1.ResourceRequirements {
	if r == nil {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: apiresource.MustParse("100m"), corev1.ResourceMemory: apiresource.MustParse("256Mi"),
		}}
	}
	return corev1.ResourceRequirements{Requests: r.Requests, Limits: r.Limits}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("https"), Scheme: corev1.URISchemeHTTPS}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 2,
	}
}
