"""Ten programs as their authors write them, on small numbers: each trains a few steps and returns its losses. `torch` is
either module; `step_of` compiles a step under Sorus. What would be drawn is a function of positions; see peers.py."""

# mypy: ignore-errors

import math


def numbers(torch, *shape, start=0.0):
    n = math.prod(shape)
    return torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + start).reshape(shape).float()


def fill(torch, *modules):
    """Weights that depend on their position alone."""
    i = 0
    with torch.no_grad():
        for module in modules:
            for name, t in module.state_dict().items():
                i += 1
                if not t.is_floating_point():
                    continue
                value = numbers(torch, *t.shape, start=i)
                if name.endswith(("running_mean", "running_var")):
                    continue
                if t.dim() > 1:
                    value = value * (1.5 / math.sqrt(t[0].numel()))
                elif "norm" in name or "bn" in name:
                    value = value * 0.1 + 1
                else:
                    value = value * 0.1
                t.copy_(value)


def same(f):
    return f


def case_gan(torch, step_of=same):
    nn = torch.nn

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.main = nn.Sequential(
                nn.ConvTranspose2d(8, 8, 4, 1, 0, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(True),
                nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False),
                nn.BatchNorm2d(4),
                nn.ReLU(True),
                nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False),
                nn.Tanh(),
            )

        def forward(self, z):
            return self.main(z)

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            self.main = nn.Sequential(
                nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 4, 4, 2, 1)),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(4, 8, 4, 2, 1, bias=False),
                nn.BatchNorm2d(8),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(8, 1, 4, 1, 0, bias=False),
                nn.Sigmoid(),
            )

        def forward(self, x):
            return self.main(x).view(-1, 1).squeeze(1)

    g, d = Generator(), Discriminator()
    fill(torch, g, d)
    criterion = nn.BCELoss()
    opt_g = torch.optim.Adam(g.parameters(), lr=0.002, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(d.parameters(), lr=0.002, betas=(0.5, 0.999))

    @step_of
    def step(real, noise):
        d.zero_grad()
        loss_real = criterion(d(real), torch.full((real.size(0),), 1.0))
        loss_real.backward()
        fake = g(noise)
        loss_fake = criterion(d(fake.detach()), torch.full((real.size(0),), 0.0))
        loss_fake.backward()
        opt_d.step()
        g.zero_grad()
        loss_g = criterion(d(fake), torch.ones(real.size(0)))
        loss_g.backward()
        opt_g.step()
        return loss_real + loss_fake, loss_g

    losses = []
    for i in range(3):
        loss_d, loss_g = step(numbers(torch, 4, 1, 16, 16, start=i), numbers(torch, 4, 8, 1, 1, start=i + 0.5))
        losses += [loss_d.item(), loss_g.item()]
    return [torch.tensor(losses)]


def case_translation(torch, step_of=same):
    nn = torch.nn

    class PositionalEncoding(nn.Module):
        def __init__(self, size, maxlen=50):
            super().__init__()
            den = torch.exp(-torch.arange(0, size, 2) * math.log(10000) / size)
            pos = torch.arange(0, maxlen).reshape(maxlen, 1)
            pe = torch.zeros((maxlen, size))
            pe[:, 0::2] = torch.sin(pos * den)
            pe[:, 1::2] = torch.cos(pos * den)
            self.dropout = nn.Dropout(0.0)
            self.register_buffer("pe", pe.unsqueeze(-2))

        def forward(self, x):
            return self.dropout(x + self.pe[: x.size(0), :])

    class Seq2Seq(nn.Module):
        def __init__(self, src, tgt, size=16):
            super().__init__()
            self.transformer = nn.Transformer(
                d_model=size,
                nhead=2,
                num_encoder_layers=2,
                num_decoder_layers=2,
                dim_feedforward=32,
                dropout=0.0,
            )
            self.generator = nn.Linear(size, tgt)
            self.src_emb, self.tgt_emb = nn.Embedding(src, size), nn.Embedding(tgt, size)
            self.position, self.size = PositionalEncoding(size), size

        def forward(self, src, tgt, src_mask, tgt_mask, src_padding, tgt_padding, memory_padding):
            a = self.position(self.src_emb(src.long()) * math.sqrt(self.size))
            b = self.position(self.tgt_emb(tgt.long()) * math.sqrt(self.size))
            y = self.transformer(a, b, src_mask, tgt_mask, None, src_padding, tgt_padding, memory_padding)
            return self.generator(y)

    PAD = 1

    def square_mask(n):
        mask = (torch.triu(torch.ones((n, n))) == 1).transpose(0, 1)
        return mask.float().masked_fill(mask == 0, float("-inf")).masked_fill(mask == 1, 0.0)

    def create_mask(src, tgt):
        src_mask = torch.zeros((src.shape[0], src.shape[0])).type(torch.bool)
        src_padding = (src == PAD).transpose(0, 1)
        tgt_padding = torch.zeros(src_padding.shape[0], tgt.shape[0]).masked_fill(
            (tgt == PAD).transpose(0, 1), float("-inf")
        )
        return src_mask, square_mask(tgt.shape[0]), src_padding, tgt_padding

    model = Seq2Seq(12, 11)
    fill(torch, model)
    loss_fn = nn.CrossEntropyLoss(ignore_index=PAD)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1 / (1 + s))

    @step_of
    def step(src, tgt):
        tgt_input = tgt[:-1, :]
        src_mask, tgt_mask, src_padding, tgt_padding = create_mask(src, tgt_input)
        logits = model(src, tgt_input, src_mask, tgt_mask, src_padding, tgt_padding, src_padding)
        optimizer.zero_grad()
        tgt_out = tgt[1:, :]
        loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt_out.reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    src = torch.tensor([[2, 2, 2], [5, 6, 7], [8, 3, 9], [3, 1, 10], [1, 1, 3]])
    tgt = torch.tensor([[2, 2, 2], [4, 5, 6], [7, 8, 3], [9, 3, 1], [3, 1, 1]])
    losses = []
    for _ in range(3):
        losses.append(step(src, tgt).item())
        scheduler.step()
    model.eval()
    with torch.no_grad():
        memory = model.transformer.encoder(model.position(model.src_emb(src) * 4.0))
        ys = torch.ones(1, 3).fill_(2).type(torch.long)
        for _ in range(3):
            out = model.transformer.decoder(model.position(model.tgt_emb(ys) * 4.0), memory, square_mask(ys.size(0)))
            prob = model.generator(out.transpose(0, 1)[:, -1])
            _, word = torch.max(prob, dim=1)
            ys = torch.cat([ys, word.unsqueeze(0)], dim=0)
    return [torch.tensor(losses), ys]


def case_crnn(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class CRNN(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(1, 4, 3, 1, 1),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2, 2),
                nn.Conv2d(4, 8, 3, 1, 1),
                nn.BatchNorm2d(8),
                nn.ReLU(inplace=True),
                nn.MaxPool2d((2, 1), (2, 1)),
            )
            self.rnn = nn.LSTM(8 * 2, 8, num_layers=2, bidirectional=True)
            self.fc = nn.Linear(16, classes)

        def forward(self, x):
            x = self.cnn(x)
            b, c, h, w = x.size()
            x = x.permute(3, 0, 1, 2).contiguous().view(w, b, c * h)
            x, _ = self.rnn(x)
            return F.log_softmax(self.fc(x), dim=2)

    model = CRNN(6)
    fill(torch, model)
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.001)

    @step_of
    def step(images, targets, target_lengths):
        log_probs = model(images)
        input_lengths = torch.full((log_probs.size(1),), log_probs.size(0), dtype=torch.long)
        loss = criterion(log_probs, targets, input_lengths, target_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    targets = torch.tensor([[1, 2, 2, 5], [3, 4, 1, 0], [5, 1, 0, 0]])
    lengths = torch.tensor([4, 3, 2])
    losses = [step(numbers(torch, 3, 1, 8, 20, start=i), targets, lengths).item() for i in range(3)]
    flat = torch.tensor([1, 2, 2, 5, 3, 4, 1, 5, 1])
    losses.append(step(numbers(torch, 3, 1, 8, 20), flat, lengths).item())
    return [torch.tensor(losses)]


def case_vae(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc21, self.fc22 = nn.Linear(36, 20), nn.Linear(20, 4), nn.Linear(20, 4)
            self.fc3, self.fc4 = nn.Linear(4, 20), nn.Linear(20, 36)

        def encode(self, x):
            h1 = F.relu(self.fc1(x))
            return self.fc21(h1), self.fc22(h1)

        def reparameterize(self, mu, logvar, eps):
            std = torch.exp(0.5 * logvar)
            return mu + eps * std

        def decode(self, z):
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

        def forward(self, x, eps):
            mu, logvar = self.encode(x.view(-1, 36))
            return self.decode(self.reparameterize(mu, logvar, eps)), mu, logvar

    def loss_function(recon_x, x, mu, logvar):
        bce = F.binary_cross_entropy(recon_x, x.view(-1, 36), reduction="sum")
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return bce + kld

    model = VAE()
    fill(torch, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    Normal, kl_divergence = torch.distributions.Normal, torch.distributions.kl_divergence

    @step_of
    def step(data, eps):
        optimizer.zero_grad()
        recon, mu, logvar = model(data, eps)
        loss = loss_function(recon, data, mu, logvar)
        loss.backward()
        optimizer.step()
        posterior = torch.distributions.Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)
        prior = torch.distributions.Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
        return loss, kl_divergence(posterior, prior).sum(), posterior.log_prob(eps).sum()

    out = []
    for i in range(3):
        x = numbers(torch, 5, 1, 6, 6, start=i) * 0.5 + 0.5
        out += [t.item() for t in step(x, numbers(torch, 5, 4, start=i))]
    return [torch.tensor(out)]


def case_reinforce(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional
    Categorical = torch.distributions.Categorical

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.affine1 = nn.Linear(4, 16)
            self.action_head, self.value_head = nn.Linear(16, 3), nn.Linear(16, 1)

        def forward(self, x):
            x = F.relu(self.affine1(x))
            return F.softmax(self.action_head(x), dim=-1), self.value_head(x)

    model = Policy()
    fill(torch, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    eps = 1e-6

    def finish_episode(states, actions, rewards):
        R, returns = 0, []
        for r in rewards[::-1]:
            R = r + 0.99 * R
            returns.insert(0, R)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + eps)
        return update(states, actions, returns)

    @step_of
    def update(states, actions, returns):
        policy_losses, value_losses, entropies = [], [], []
        for i in range(returns.shape[0]):
            probs, state_value = model(states[i])
            m = Categorical(probs)
            log_prob, entropy = m.log_prob(actions[i]), m.entropy()
            advantage = returns[i] - state_value.detach()
            policy_losses.append(-log_prob * advantage)
            entropies.append(entropy)
            value_losses.append(F.smooth_l1_loss(state_value, returns[i].unsqueeze(0)))
        optimizer.zero_grad()
        loss = (
            torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * torch.stack(entropies).sum()
        )
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for i in range(3):
        states = numbers(torch, 6, 4, start=i)
        with torch.no_grad():
            drawn = Categorical(model(states)[0]).sample()
        assert drawn.shape == (6,)
        rewards = [1.0, 0.5, -1.0, 2.0, 0.0, 1.0]
        losses.append(finish_episode(states, torch.tensor([0, 2, 1, 1, 0, 2]), rewards).item())
    return [torch.tensor(losses)]


def case_word2vec(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class SkipGram(nn.Module):
        def __init__(self, vocabulary, size):
            super().__init__()
            self.u_embeddings = nn.Embedding(vocabulary, size, sparse=False)
            self.v_embeddings = nn.Embedding(vocabulary, size)
            initrange = 1.0 / size
            nn.init.uniform_(self.u_embeddings.weight.data, -initrange, initrange)
            nn.init.constant_(self.v_embeddings.weight.data, 0)

        def forward(self, pos_u, pos_v, neg_v):
            emb_u, emb_v = self.u_embeddings(pos_u), self.v_embeddings(pos_v)
            emb_neg_v = self.v_embeddings(neg_v)
            score = torch.sum(torch.mul(emb_u, emb_v), dim=1)
            score = -F.logsigmoid(torch.clamp(score, max=10, min=-10))
            neg_score = torch.bmm(emb_neg_v, emb_u.unsqueeze(2)).squeeze()
            neg_score = -torch.sum(F.logsigmoid(-torch.clamp(neg_score, max=10, min=-10)), dim=1)
            return torch.mean(score + neg_score)

    model = SkipGram(30, 8)
    fill(torch, model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    @step_of
    def step(u, v, n):
        optimizer.zero_grad()
        loss = model(u, v, n)
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for i in range(4):
        index = torch.arange(10) * (i + 1)
        losses.append(step(index % 30, (index * 7 + 3) % 30, (torch.arange(50).view(10, 5) * 11 + i) % 30).item())
        scheduler.step()
    nearest = torch.topk(F.cosine_similarity(model.u_embeddings.weight[3].unsqueeze(0), model.u_embeddings.weight), 3)
    return [torch.tensor(losses), nearest.values]


def case_unet(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class DoubleConv(nn.Module):
        def __init__(self, i, o):
            super().__init__()
            self.double_conv = nn.Sequential(
                nn.Conv2d(i, o, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )

        def forward(self, x):
            return self.double_conv(x)

    class Up(nn.Module):
        def __init__(self, i, o, bilinear):
            super().__init__()
            if bilinear:
                self.up = nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(i, i // 2, 1)
                )
            else:
                self.up = nn.ConvTranspose2d(i, i // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(i, o)

        def forward(self, x1, x2):
            x1 = self.up(x1)
            dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
            x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            return self.conv(torch.cat([x2, x1], dim=1))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.inc = DoubleConv(3, 4)
            self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
            self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
            self.up1, self.up2 = Up(16, 8, False), Up(8, 4, True)
            self.outc = nn.Conv2d(4, 2, kernel_size=1)

        def forward(self, x):
            x1 = self.inc(x)
            x2 = self.down1(x1)
            x3 = self.down2(x2)
            return self.outc(self.up2(self.up1(x3, x2), x1))

    def dice_loss(input, target):
        inter = 2 * (input * target).sum(dim=(-1, -2, -3))
        sets = input.sum(dim=(-1, -2, -3)) + target.sum(dim=(-1, -2, -3))
        sets = torch.where(sets == 0, inter, sets)
        return 1 - ((inter + 1e-6) / (sets + 1e-6)).mean()

    model = UNet()
    fill(torch, model)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-8, momentum=0.9)

    @step_of
    def step(images, masks):
        pred = model(images)
        loss = criterion(pred, masks)
        one_hot = F.one_hot(masks, 2).permute(0, 3, 1, 2).float()
        loss = loss + dice_loss(F.softmax(pred, dim=1).float(), one_hot)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    losses = []
    for i in range(3):
        images = numbers(torch, 2, 3, 13, 14, start=i)
        losses.append(step(images, (images[:, 0] > 0.2).long()).item())
    return [torch.tensor(losses)]


def case_siamese(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class Embedder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.PReLU(), nn.MaxPool2d(2, stride=2), nn.Conv2d(4, 8, 3), nn.PReLU()
            )
            self.pool = nn.AdaptiveAvgPool2d((2, 2))
            self.fc = nn.Sequential(nn.Linear(32, 16), nn.PReLU(), nn.Linear(16, 4))

        def forward(self, x):
            out = self.pool(self.conv(x))
            return F.normalize(self.fc(out.view(out.size()[0], -1)), p=2, dim=1)

    class ContrastiveLoss(nn.Module):
        def __init__(self, margin=1.0):
            super().__init__()
            self.margin = margin

        def forward(self, a, b, label):
            distance = F.pairwise_distance(a, b, keepdim=True)
            near = (1 - label) * torch.pow(distance, 2)
            far = label * torch.pow(torch.clamp(self.margin - distance, min=0.0), 2)
            return torch.mean(near + far)

    model = Embedder()
    fill(torch, model)
    triplet, contrastive = nn.TripletMarginLoss(margin=1.0, p=2), ContrastiveLoss()
    optimizer = torch.optim.AdamW(
        [{"params": model.conv.parameters(), "lr": 1e-3}, {"params": model.fc.parameters()}],
        lr=1e-2,
        weight_decay=0.01,
    )

    @step_of
    def step(anchor, positive, negative):
        a, p, n = model(anchor), model(positive), model(negative)
        loss = triplet(a, p, n) + contrastive(a, n, torch.ones(a.size(0), 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for i in range(3):
        losses.append(step(*(numbers(torch, 4, 1, 12, 12, start=i + 0.3 * k) for k in (0, 1, 5))).item())
    return [torch.tensor(losses)]


def case_tagger(torch, step_of=same):
    nn = torch.nn
    rnn = torch.nn.utils.rnn

    class Tagger(nn.Module):
        def __init__(self, words, tags):
            super().__init__()
            self.embedding = nn.Embedding(words, 6, padding_idx=0)
            self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
            self.gru = nn.GRU(10, 4, batch_first=True)
            self.hidden2tag = nn.Linear(4, tags)

        def forward(self, sentences, lengths):
            x = rnn.pack_padded_sequence(self.embedding(sentences), lengths, batch_first=True, enforce_sorted=False)
            x, (h, c) = self.lstm(x)
            x, last = self.gru(x)
            out, sizes = rnn.pad_packed_sequence(x, batch_first=True)
            return self.hidden2tag(out), h, c, last, sizes

    model = Tagger(20, 4)
    fill(torch, model)
    loss_function = nn.CrossEntropyLoss(ignore_index=-1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sentences = [torch.tensor(s) for s in ([4, 5, 6], [7, 8, 9, 10, 11, 2], [3], [12, 13, 14])]
    tags = [torch.tensor(s) for s in ([0, 1, 2], [3, 2, 1, 0, 1, 2], [3], [1, 1, 0])]
    words = rnn.pad_sequence(sentences, batch_first=True)
    wanted = rnn.pad_sequence(tags, batch_first=True, padding_value=-1)
    lengths = [len(s) for s in sentences]

    @step_of
    def step(words, wanted):
        optimizer.zero_grad()
        scores, h, c, last, sizes = model(words, lengths)
        loss = loss_function(scores.view(-1, 4), wanted.view(-1))
        loss.backward()
        optimizer.step()
        return loss, h, c, last, sizes

    out = [step(words, wanted) for _ in range(3)]
    packed = rnn.pack_sequence(sentences, enforce_sorted=False)
    return [[o[0] for o in out], out[-1][1:], list(packed), rnn.unpack_sequence(packed)]


def case_distillation(torch, step_of=same):
    nn = torch.nn
    F = torch.nn.functional

    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, width, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(kernel_size=2, stride=2),
                nn.Conv2d(width, width, kernel_size=3, padding=1),
                nn.ReLU(),
            )
            self.classifier = nn.Sequential(nn.Linear(width * 16, 12), nn.ReLU(), nn.Dropout(0.0), nn.Linear(12, 5))

        def forward(self, x):
            x = torch.flatten(self.features(x), 1)
            return self.classifier(x)

    teacher, student = Net(8), Net(3)
    fill(torch, teacher, student)
    teacher.eval()
    student.train()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.001)
    ce_loss, kl = nn.CrossEntropyLoss(label_smoothing=0.1), nn.KLDivLoss(reduction="batchmean", log_target=True)
    T = 2.0

    @step_of
    def step(inputs, labels):
        optimizer.zero_grad()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
        student_logits = student(inputs)
        soft_targets = F.softmax(teacher_logits / T, dim=-1)
        soft_prob = F.log_softmax(student_logits / T, dim=-1)
        soft_loss = torch.sum(soft_targets * (soft_targets.log() - soft_prob)) / soft_prob.size()[0] * (T**2)
        loss = 0.25 * soft_loss + 0.75 * ce_loss(student_logits, labels)
        loss = loss + 0.1 * kl(soft_prob, F.log_softmax(teacher_logits / T, dim=-1))
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(numbers(torch, 6, 3, 8, 8, start=i), torch.tensor([0, 1, 2, 3, 4, 0])).item() for i in range(3)]
    with torch.no_grad():
        _, predicted = torch.max(student(numbers(torch, 6, 3, 8, 8)), 1)
    return [torch.tensor(losses), predicted]
