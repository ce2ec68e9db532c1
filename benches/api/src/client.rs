//! A load generator: HTTP/1.1 over connections that stay open.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// What is asked, and of whom.
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    /// Whole requests; each connection takes them in turn, from a place of its own.
    pub(crate) requests: &'a [Vec<u8>],
    pub(crate) connections: usize,
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Measured {
    latencies: Vec<Duration>,
    pub(crate) failed: u64,
    time: Duration,
}

impl Measured {
    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The latency that a `share` of all answers (0 to 1) did not exceed.
    pub(crate) fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((share * last as f64).round() as usize).copied().unwrap_or_default()
    }
}

/// Each connection asks again as soon as it has its answer.
pub(crate) async fn closed_loop(load: &Load<'_>, time: Duration) -> Measured {
    let began = Instant::now();
    run(load, time, move |_| (began.elapsed() < time).then(Instant::now)).await
}

/// Requests are due at a fixed rate, whether or not the ones before were answered.
pub(crate) async fn open_loop(load: &Load<'_>, rate: u32, time: Duration) -> Measured {
    let began = Instant::now();
    let gap = Duration::from_secs(1) / rate;
    run(load, time, move |number| {
        let due = gap * number as u32;
        (due < time).then(|| began + due)
    })
    .await
}

/// `due` says when the numbered request is due, or that there is none.
async fn run(
    load: &Load<'_>,
    time: Duration,
    due: impl Fn(u64) -> Option<Instant> + Clone + Send + 'static,
) -> Measured {
    let numbers = Arc::new(AtomicU64::new(0));
    let requests = Arc::new(load.requests.to_vec());
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        let (numbers, requests, due) = (Arc::clone(&numbers), Arc::clone(&requests), due.clone());
        let address = load.address;
        connections.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut measured = Measured::default();
            let mut buffer = Vec::new();
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let Some(due) = due(number) else { return measured };
                tokio::time::sleep_until(due.into()).await;
                // A stride without a common factor, so that neighbours are not asked for together.
                let request = &requests[(number as usize * 7919) % requests.len()];
                stream.write_all(request).await.unwrap();
                match answer(&mut stream, &mut buffer).await {
                    200 => measured.latencies.push(due.elapsed()),
                    _ => measured.failed += 1,
                }
            }
        });
    }
    let mut all = Measured { time, ..Measured::default() };
    while let Some(measured) = connections.join_next().await {
        let measured = measured.unwrap();
        all.latencies.extend(measured.latencies);
        all.failed += measured.failed;
    }
    all.latencies.sort_unstable();
    all
}

/// Reads one answer and returns its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> u16 {
    buffer.clear();
    let mut whole = None;
    loop {
        if whole.is_none()
            && let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..end]).unwrap().to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            whole = Some(end + 4 + length);
        }
        if whole.is_some_and(|whole| buffer.len() >= whole) {
            return std::str::from_utf8(&buffer[9..12]).unwrap().parse().unwrap();
        }
        if stream.read_buf(buffer).await.unwrap() == 0 {
            return 0;
        }
    }
}
