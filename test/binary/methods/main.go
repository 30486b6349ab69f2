// Command methods does what ussoauthz must not, so that the test sees that it is
// noticed.
package main

import (
	"os"
	"reflect"
)

func main() {
	reflect.ValueOf(os.Stdout).MethodByName(os.Args[0])
}
