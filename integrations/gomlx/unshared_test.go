package gomlxkernel_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
)

// unshared is a backend like XLA's: its buffers are on a device, and what the host
// wants to see or has changed must be transferred.
type unshared struct {
	backends.Backend
	toHost, toDevice int // bytes
}

func (*unshared) HasSharedBuffers() bool { return false }

func (*unshared) NewSharedBuffer(backends.DeviceNum, shapes.Shape) (backends.Buffer, any, error) {
	panic("there are none")
}

func (*unshared) BufferData(backends.Buffer) (any, error) { panic("not from the host") }

func (u *unshared) BufferToFlatData(buffer backends.Buffer, flat any) error {
	u.toHost += size(flat)
	return u.Backend.BufferToFlatData(buffer, flat)
}

func (u *unshared) BufferFromFlatData(device backends.DeviceNum, flat any, shape shapes.Shape) (backends.Buffer, error) {
	u.toDevice += size(flat)
	return u.Backend.BufferFromFlatData(device, flat, shape)
}

// size returns how many bytes the elements of a slice take.
func size(flat any) int {
	v := reflect.ValueOf(flat)
	return v.Len() * int(v.Type().Elem().Size())
}

// TestUnsharedBuffers wants the same weights, and the transfers that the
// documentation states: per parameter 4 bytes of gradient to the host, and 4 of
// weight to the device.
func TestUnsharedBuffers(t *testing.T) {
	options := kernel.GoMLX()
	options.Momentum = 0.9
	device := &unshared{Backend: pureGo}
	tr := newTraining(t, gomlxkernel.New(options), func(tr *training) { tr.backend = device })
	host := newTraining(t, gomlxkernel.New(options))
	a, b := newInputs(), newInputs()
	tr.run(a, 10)
	host.run(b, 10)
	before := *device
	const steps = 10
	tr.run(a, steps)
	toHost, toDevice := device.toHost-before.toHost, device.toDevice-before.toDevice
	host.run(b, steps)
	if !slices.Equal(tr.weights(), host.weights()) {
		t.Errorf("%v apart", apart(tr.weights(), host.weights()))
	}
	// Besides, the inputs go to the device, and the numbers that are counters go to and
	// fro: some bytes a step.
	bytes := 4 * len(tr.initial())
	t.Logf("%d bytes to the host and %d to the device for %d of weights, in a step", toHost/steps, toDevice/steps, bytes)
	const some = 100
	if toHost < steps*bytes || toHost > steps*(bytes+some) {
		t.Errorf("%d bytes to the host in a step", toHost/steps)
	}
	if toDevice < steps*2*bytes || toDevice > steps*(2*bytes+some) {
		t.Errorf("%d bytes to the device in a step", toDevice/steps)
	}
}
