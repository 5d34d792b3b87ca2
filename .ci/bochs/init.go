// Init is process 1 of the machine that bochs.sh boots: it runs the test binary
// with the arguments and the environment that lie beside it, prints its exit
// status as the last line, and resets the machine.
//
// The folder's name begins with a dot, so that ./... leaves it out.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

func main() {
	status, err := run()
	if err != nil {
		fmt.Println("init:", err)
	}
	fmt.Printf("\ninit: exit status %d\n", status)
	// The status has left the machine once the serial port has sent it.
	syscall.Syscall(syscall.SYS_IOCTL, 1, tcsbrk, 1)
	fmt.Println("init:", syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART))
}

// tcsbrk with argument 1 waits for all output, as tcdrain does (ioctl_tty(2)).
const tcsbrk = 0x5409

func run() (status int, err error) {
	for _, m := range []struct{ kind, dir string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return 1, err
		}
		if err := syscall.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			return 1, fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	args, err := list("/args")
	if err != nil {
		return 1, err
	}
	env, err := list("/env")
	if err != nil {
		return 1, err
	}
	test := exec.Command("/test", args...)
	test.Dir = "/package"
	test.Env = append(env, "HOME=/tmp", "PATH=/")
	test.Stdout, test.Stderr = os.Stdout, os.Stdout
	err = test.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// list returns the strings in a file, each of which a zero byte ends.
func list(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	items := strings.Split(string(text), "\x00")
	return items[:len(items)-1], err
}
