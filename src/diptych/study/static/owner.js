// The page that asks the owner for the token, which travels in the body of a request: never in an address, which logs keep.

document.getElementById("login")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ token: document.getElementById("token").value.trim() });
  const response = await fetch("/owner/login", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (response.ok) location.reload();
  else document.getElementById("wrong").hidden = false;
});
