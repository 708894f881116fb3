package object

// Tags are what users can be called; administrator and monitoring open the admin API.
var Tags = []string{"administrator", "monitoring", "management", "policymaker"}

// How the stored forms of passwords begin. The broker makes those of argon2id; RabbitMQ's come with its definitions: the
// base64 of four bytes of salt and the SHA-2 of salt and password follows.
const (
	HashArgon2id     = "$argon2id$"
	HashRabbitSHA256 = "$rabbit-sha256$"
	HashRabbitSHA512 = "$rabbit-sha512$"
)
