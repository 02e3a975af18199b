import torch
from torch import nn

torch.manual_seed(0)


def fill(m):
    with torch.no_grad():
        for k, p in enumerate(m.parameters()):
            n = p.numel()
            p.copy_(torch.sin(torch.arange(n, dtype=torch.float32) + k).reshape(p.shape) * 0.5)


net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
fill(net)
acts = {}


def get(name):
    def hook(module, inputs, output):
        acts[name] = output.detach()
        print(name, type(module).__name__, tuple(inputs[0].shape), "->", tuple(output.shape))

    return hook


handles = [m.register_forward_hook(get(n)) for n, m in net.named_modules() if n]


def pre(module, args):
    print("pre", [a.shape for a in args])
    return (args[0] * 2,)


net[0].register_forward_pre_hook(pre)


def full(module, gi, go):
    print(
        "backward",
        module,
        [None if g is None else tuple(g.shape) for g in gi],
        [tuple(g.shape) for g in go],
    )


net[2].register_full_backward_hook(full)
x = torch.linspace(-1, 1, 8).reshape(2, 4).requires_grad_()
out = net(x)
h = x.register_hook(lambda g: print("grad of x", g) or g * 10)
out.register_hook(lambda g: g.clamp(max=0.1))
loss = out.pow(2).mean()
print(loss)
loss.backward()
print(x.grad)
for h_ in handles:
    h_.remove()
h.remove()
net(x)
print({k: v.norm().item().__round__(4) for k, v in acts.items()})
for name, p in net.named_parameters():
    print(f"{name:10s} {str(tuple(p.shape)):8s} {p.grad.norm():.5f}")
print(net)
print(sum(p.numel() for p in net.parameters() if p.requires_grad))


def post(p):
    print("accumulated", p.grad.shape)


hh = net[0].weight.register_post_accumulate_grad_hook(post)
net(x).sum().backward()
hh.remove()
print(list(net.state_dict().keys()), net.state_dict()["0.bias"][:3])
net.eval()
print(net.training, [m.training for m in net])
for p in net[0].parameters():
    p.requires_grad_(False)
print([n for n, p in net.named_parameters() if p.requires_grad])
