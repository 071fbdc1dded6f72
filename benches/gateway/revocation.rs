//! How long does a token live after its end was asked for? Through the front door: one connection revokes (RFC 7009)
//! while another calls, call after call, until it is refused.

use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::issuance::{Addresses, certified_token};
use super::load::client;
use super::scene::{Scene, USED_CLIENTS, bound, target};

/// A token that is still good after this long fails the run.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// What became of one token, counted from when its revocation was sent.
pub struct Delay {
    /// When the revocation was answered.
    pub answered: Duration,
    /// When the first refusal was there.
    pub refused: Duration,
    /// Whether a call passed that began after the answer.
    pub late: bool,
}

/// One for each client that has a certificate.
pub async fn delays(scene: &Scene, addresses: Addresses) -> anyhow::Result<Vec<Delay>> {
    let mut delays = Vec::with_capacity(USED_CLIENTS);
    for number in 0..USED_CLIENTS {
        delays.push(delay(scene, addresses, number).await?);
    }
    Ok(delays)
}

async fn delay(scene: &Scene, addresses: Addresses, number: usize) -> anyhow::Result<Delay> {
    let token = certified_token(scene, addresses, number).await?;
    let tls = client(scene, false, Some(number))?;
    let mut revoking = Endpoint::connect(addresses.mtls, &tls).await?;
    let mut calling = Endpoint::connect(addresses.mtls, &tls).await?;
    let (target, fields) = (target(0), format!("authorization: Bearer {token}\r\nx-page-size: 25\r\n"));
    calling.get(&target, &fields).await?.expect(200)?;
    let form = format!("client_id={}&token={token}", bound(number));
    let sent = Instant::now();
    let revoked = async {
        revoking.post("/oauth/revoke", "", &form).await?.expect(200)?;
        anyhow::Ok(sent.elapsed())
    };
    let called = async {
        let mut last_passed = Duration::ZERO;
        loop {
            let began = sent.elapsed();
            let answer = calling.get(&target, &fields).await?;
            if answer.status == 401 {
                return anyhow::Ok((sent.elapsed(), last_passed));
            }
            answer.expect(200)?;
            last_passed = began;
            anyhow::ensure!(began < DELAY_MAX, "a revoked token is still good");
        }
    };
    let (answered, (refused, last_passed)) = futures_util::try_join!(revoked, called)?;
    Ok(Delay { answered, refused, late: last_passed > answered })
}
