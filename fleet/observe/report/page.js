(() => {
  // One time in all charts: the pointer, or the arrow keys in a chart, say which.
  const root = document.documentElement, main = document.querySelector("main"), status = document.getElementById("status");
  const start = +main.dataset.start, step = +main.dataset.step, number = +main.dataset.number;
  const plots = [...document.querySelectorAll(".plot")], clocks = document.querySelectorAll(".now");
  const short = n => n.toLocaleString("en", { maximumSignificantDigits: 3 });
  const scaled = (n, units) => { const [size, name] = units.find(([least]) => n >= least) || units[units.length - 1]; return short(n / size) + "\u00a0" + name; };
  const words = {
    seconds: n => n < 120 ? short(n) + "\u00a0s" : n < 7200 ? short(n / 60) + "\u00a0min" : short(n / 3600) + "\u00a0h",
    number: short, rate: n => short(n) + "/s", percent: n => short(n) + "\u00a0%",
    bytes: n => scaled(n, [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]]),
  };
  let current = number;
  const values = plot => plot.series ??= plot.dataset.values.split("|").map(series => series.split(","));
  const text = (plot, index) => {
    const names = plot.dataset.names.split(",");
    return values(plot).map((series, i) => (names.length > 1 ? names[i] + " " : "") + (series[index] ? words[plot.dataset.unit](+series[index]) : "not known")).join(", ");
  };
  const show = index => {
    current = Math.max(0, Math.min(number - 1, index));
    root.style.setProperty("--x", (100 * (current + 0.5) / number) + "%");
    const time = new Date(1000 * (start + current * step)).toISOString().slice(11, step < 60 ? 19 : 16);
    clocks.forEach(clock => { clock.textContent = time; });
    plots.forEach(plot => { plot.dataset.now = text(plot, current); });
    root.classList.add("on");
    return time;
  };
  const hide = () => root.classList.remove("on");
  plots.forEach(plot => {
    plot.addEventListener("pointermove", event => {
      const box = plot.getBoundingClientRect();
      show(Math.floor(number * (event.clientX - box.left) / box.width));
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", event => {
      const far = Math.max(1, Math.round(number / 20));
      const to = { ArrowLeft: current - 1, ArrowRight: current + 1, PageUp: current - far, PageDown: current + far, Home: 0, End: number - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      const time = show(to);
      status.textContent = time + " UTC: " + text(plot, current);
    });
  });
})();
