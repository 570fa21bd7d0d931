// A Rust service of the accuracy harness on tokio's multi-threaded runtime, with HTTP/1.1 by hand.
//
// It makes the calls of a plan one after the other ("sequential") or in tasks of their own
// ("parallel"), over connections of a pool ("pooled"). The plan is JSON as Python writes it; what
// is needed of it is found by its text.
use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct State {
    plan: RwLock<String>,
    idle: Mutex<Vec<TcpStream>>,
}

fn text<'a>(plan: &'a str, after: &str, end: char) -> Option<&'a str> {
    let at = plan.find(after)? + after.len();
    Some(&plan[at..at + plan[at..].find(end)?])
}

/// Reads one message; returns all of it and where its body begins.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    buffer.clear();
    loop {
        let head = buffer.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(at) = head {
            let words = String::from_utf8_lossy(&buffer[..at]).to_lowercase();
            let length = text(&format!("{words}\r\n"), "content-length:", '\r')
                .and_then(|n| n.trim().parse::<usize>().ok())
                .unwrap_or(0);
            if buffer.len() >= at + 4 + length {
                return Ok(Some(at + 4));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn call(state: Arc<State>, child: String, parent: String) -> io::Result<()> {
    let (address, pause) = {
        let plan = state.plan.read().unwrap();
        let node = plan.find(&format!("\"{child}\": {{")).map_or("", |at| &plan[at..]);
        let pause = text(node, "\"before_ms\": ", '}').and_then(|n| n.parse().ok()).unwrap_or(0);
        (text(&plan, "\"go-leaf\": \"", '"').unwrap_or("").to_string(), pause)
    };
    if pause > 0 {
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let pooled = state.idle.lock().unwrap().pop();
    let mut stream = match pooled {
        Some(stream) => stream,
        None => TcpStream::connect(&address).await?,
    };
    let request = format!(
        "GET /call/{child} HTTP/1.1\r\nHost: leaf\r\nX-Truth-Id: {child}\r\nX-Truth-Parent: {parent}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::with_capacity(1024);
    receive(&mut stream, &mut buffer).await?;
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(format!("call {child} failed")));
    }
    state.idle.lock().unwrap().push(stream);
    Ok(())
}

async fn perform(state: &Arc<State>, name: &str) -> io::Result<()> {
    let (mode, children) = {
        let plan = state.plan.read().unwrap();
        let at = plan.find(&format!("\"{name}\": {{")).ok_or(io::ErrorKind::NotFound)?;
        let mode = text(&plan[at..], "\"mode\": \"", '"').unwrap_or("").to_string();
        let calls = text(&plan[at..], "\"calls\": [", ']').unwrap_or("");
        let children: Vec<String> =
            calls.split(", ").filter(|c| !c.is_empty()).map(|c| c.trim_matches('"').to_string()).collect();
        (mode, children)
    };
    if mode == "sequential" {
        for child in children {
            call(state.clone(), child, name.to_string()).await?;
        }
        return Ok(());
    }
    let tasks: Vec<_> =
        children.into_iter().map(|child| tokio::spawn(call(state.clone(), child, name.to_string()))).collect();
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn serve(state: Arc<State>, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    stream.set_nodelay(true)?;
    while let Some(body) = receive(&mut stream, &mut buffer).await? {
        let line = String::from_utf8_lossy(&buffer[..buffer.iter().position(|b| *b == b'\r').unwrap_or(0)]).into_owned();
        let path = line.split(' ').nth(1).unwrap_or("");
        let mut status = "200 OK";
        let said = if path == "/load" {
            *state.plan.write().unwrap() = String::from_utf8_lossy(&buffer[body..]).into_owned();
            "0".to_string()
        } else if let Some(name) = path.strip_prefix("/call/") {
            if let Err(error) = perform(&state, name).await {
                eprintln!("call {name}: {error}");
                status = "500 Failed";
            }
            name.to_string()
        } else {
            "0 0".to_string()
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> io::Result<()> {
    let state = Arc::new(State::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(state.clone(), stream));
    }
}
