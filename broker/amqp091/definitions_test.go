package amqp091_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestHashesOfRabbitMQ: users whose password hashes came from RabbitMQ log in with their passwords.
func TestHashesOfRabbitMQ(t *testing.T) {
	b := start(t, defaults())
	for name, hash := range map[string]string{ // of "s3cret", made by RabbitMQ 3.10 and by its documented formula
		"sha256": object.HashRabbitSHA256 + "H7dLR0wsOEEbzZXWLUS9iL2RjnFo/Zreoix7P7Q4tAWv53Dx",
		"sha512": object.HashRabbitSHA512 + "AQIDBJI2yQQ1Neg30pob+8hkYUM1v4PXKNj0SQsACOdiROtY9rg4njiCt+kxn20grZ0gqjljOZFdD6T+LR1KKztwlAY=",
	} {
		b.apply(must(object.New(object.KindUser, "", name, object.UserSpec{PasswordHash: hash})))
		b.apply(must(object.New(object.KindPermission, "/", name, object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})))
		for password, right := range map[string]bool{"s3cret": true, "S3cret": false, "": false} {
			conn, err := amqp.Dial("amqp://" + name + ":" + password + "@" + b.address + "/")
			if (err == nil) != right {
				t.Errorf("%s with password %q: %v", name, password, err)
			}
			if err == nil {
				check(t, conn.Close())
			}
		}
	}
}
