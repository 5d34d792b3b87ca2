package kernel

// memberConstants are the hyperparameters of one member of the family as the
// implementations use them. The assembly takes the offsets from go_asm.h.
type memberConstants struct {
	numerator  float32 //  0: lr, or 1 where lr stays outside the momentum buffer
	rho        float32 //  4
	c          float32 //  8: 1 - rho
	eps        float32 // 12: inside the root: eps, or 0 where it is outside
	epsOutside float32 // 16: outside the root: eps, or 0 where it is inside
	scale      float32 // 20: of the gradient: the scale, negative where maximising; 1 where off
	decay      float32 // 24: L2 decay, added to the gradient (where memberL2)
	mu         float32 // 28: momentum (in the layouts that have a momentum buffer)
	lrOutside  float32 // 32: lr where it stays outside the momentum buffer, else 1
	lrDecay    float32 // 36: lr*decay, where the decay is decoupled (memberDecoupled)
	options    uint32  // 40: member… below
}

// The options that have a step of their own, which must be left out where they
// are off: 0*theta is not 0 where theta is infinite.
const (
	memberL2        = 1 << iota // g = g + decay*theta
	memberDecoupled             // theta = theta - lrDecay*theta
	memberNesterov              // u = mu*b' + u
)
